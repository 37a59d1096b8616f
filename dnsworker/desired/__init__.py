"""How an operation changes what a zone should be: decided from what the zone is, then written in one go.

Everything here runs inside one transaction, under the zone's lock. A refusal is raised before the first
write, so nothing is half done.
"""

from dnsworker.desired.applying import Desired
from dnsworker.desired.draft import LOOK_GUARD_S, Contended, Draft, drafting
from dnsworker.desired.moving import advance, finish, give_up, take_over
from dnsworker.desired.writing import Accepted, delete, lift, take_back, write

__all__ = [
    "LOOK_GUARD_S", "Accepted", "Contended", "Desired", "Draft", "advance", "delete", "drafting", "finish",
    "give_up", "lift", "take_back", "take_over", "write",
]  # fmt: skip
