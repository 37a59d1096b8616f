"""How an operation changes what a zone should be: decided from what the zone is, then written in one go.

Everything here runs inside one transaction, under the zone's lock. A refusal is raised before the first
write, so nothing is half done.
"""

from dnsworker.desired.applying import Desired
from dnsworker.desired.moving import advance, finish, give_up
from dnsworker.desired.writing import LOOK_GUARD_S, Accepted, delete, lift, take_back, write

__all__ = [
    "LOOK_GUARD_S", "Accepted", "Desired", "advance", "delete", "finish", "give_up", "lift", "take_back",
    "write",
]  # fmt: skip
