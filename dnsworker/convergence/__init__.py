"""Bringing one zone at one target to where it should be."""

from dnsworker.convergence.convoy import Convoy, Outcome, gather
from dnsworker.convergence.founding import gather_new
from dnsworker.convergence.interruptions import Blocked, Resting, Stopped
from dnsworker.convergence.ledger import storable
from dnsworker.convergence.look import look
from dnsworker.convergence.turns import Convergence

__all__ = [
    "Blocked",
    "Convergence",
    "Convoy",
    "Outcome",
    "Resting",
    "Stopped",
    "gather",
    "gather_new",
    "look",
    "storable",
]
