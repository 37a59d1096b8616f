"""Bringing one zone at one target to where it should be."""

from dnsworker.convergence.ledger import Resting, storable
from dnsworker.convergence.turns import Blocked, Convergence

__all__ = ["Blocked", "Convergence", "Resting", "storable"]
