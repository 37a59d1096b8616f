"""Which request of a method is being made: the first is announced by whoever calls the method, the rest here.

Shared by the backends whose requests go over connections of their own kind: with this in the connection,
none can be forgotten (see `dnsworker.backend.Backend.checkpoint`).
"""

from __future__ import annotations

from collections.abc import Callable


class RequestsMade:
    """`begin` at the start of each method of the contract; `announce` just before each request.

    A method that calls another one of the contract calls `checkpoint` itself just before.
    """

    def __init__(self, checkpoint: Callable[[], None]) -> None:
        self._checkpoint = checkpoint
        self._is_first = True

    def begin(self) -> None:
        self._is_first = True

    def announce(self) -> None:
        if self._is_first:
            self._is_first = False
        else:
            self._checkpoint()
