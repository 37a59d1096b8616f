"""Why a turn ends before its end: the target is left alone, something moved, or an operator must decide."""

from __future__ import annotations

from dnsworker.errors import Permanent, RateLimited


class Resting(RateLimited):
    """The target has asked somebody else for fewer requests, or the delivery has used up its patience.

    Nothing was sent, and it says nothing about the delivery: that goes on later.
    """


class Stopped(Resting):
    """An operator has paused the target or frozen the zone: nothing more is sent until that is over."""


class Again(Exception):
    """Something moved: read the rows again and go on from there."""


class Blocked(Permanent):
    """Nothing more is written to this zone at this target until an operator has decided."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state

    @property
    def code(self) -> str:
        return {"foreign": "ZoneExists", "ahead": "Ahead", "held": "UnsafeChange"}[self.state]
