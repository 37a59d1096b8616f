"""The place of each operation among those of one client on one zone.

Separate because it is the client's half of the promise "in order"; the other half is the intake's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dnsworker.client.ids import new_id
from dnsworker.errors import SubmissionFailed
from dnsworker.requests.request import Order

#: Beyond this many operations of unknown fate on one zone, numbering begins anew as another client.
MAX_SKIPS = 5_000


class _Sequence:
    """The numbers of one zone name, whatever the pool: with and without `pool=` may mean the same zone."""

    __slots__ = ("client", "last", "lock", "skips")

    def __init__(self) -> None:
        self.client = new_id()
        self.last = 0
        self.skips: list[int] = []
        self.lock = threading.Lock()


class Numbering:
    """Numbers for one process. Operations leave for one zone one at a time, in the order of their numbers."""

    def __init__(self) -> None:
        self._sequences: dict[str, _Sequence] = {}
        self._lock = threading.Lock()

    @contextmanager
    def place(self, zone: str, timeout_s: float) -> Iterator[Order]:
        """The next number, for the body to publish. Raises `SubmissionFailed` when its turn doesn't come.

        A number that certainly hasn't reached the broker is given again. One that may have is void: the
        following messages say so, until one of them is confirmed.
        """
        sequence = self._sequence(zone)
        if not sequence.lock.acquire(timeout=max(0.0, timeout_s)):
            raise SubmissionFailed(
                f"earlier submissions for {zone} are still waiting for the broker after {timeout_s:g} s"
            )
        try:
            order = Order(client=sequence.client, number=sequence.last + 1, skips=list(sequence.skips))
            try:
                yield order
            except SubmissionFailed as exc:
                if exc.may_have_arrived:
                    self._make_void(sequence, order.number)
                raise
            except BaseException:
                self._make_void(sequence, order.number)  # interrupted: nobody knows
                raise
            sequence.last = order.number
            sequence.skips.clear()
        finally:
            sequence.lock.release()

    def _sequence(self, zone: str) -> _Sequence:
        with self._lock:
            found = self._sequences.get(zone)
            if found is None:
                found = self._sequences[zone] = _Sequence()
            return found

    @staticmethod
    def _make_void(sequence: _Sequence, number: int) -> None:
        sequence.last = number
        sequence.skips.append(number)
        if len(sequence.skips) > MAX_SKIPS:
            sequence.client, sequence.last, sequence.skips = new_id(), 0, []
