"""Whether an operation has arrived at enough witnesses, and what is left to be seen of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dnsworker.operations import Status
from dnsworker.standing import Standing, free_of
from dnsworker.store.journal import Trace
from dnsworker.store.rows import ZoneRow


def has_arrived(standing: Standing, zone: ZoneRow, row: Any) -> bool:
    free = free_of(standing, standing.refusers(row.id))
    good = [one for one in free if standing.verified(one) >= row.revision]
    if not standing.is_met(len(good)):
        return False
    if not is_removal(zone, row):
        return True
    return all(one.delivered_revision >= row.revision for one in standing.rows.values())


def is_removal(zone: ZoneRow, row: Any) -> bool:
    """Whether the operation wants the zone away from here."""
    return bool(row.kind == "delete_zone" or (row.kind == "move_zone" and row.id != zone.arrives_by))


class Showing:
    """What is left to be seen of operations, at who has come to `reached` and at who has come to `ahead`.

    Pure. An operation without a trace, because it had nothing to do, is neither replaced nor hidden.
    """

    def __init__(self, traces: Iterable[Trace], reached: int, ahead: int) -> None:
        self._of: dict[str, list[Trace]] = {}
        #: RRset → the last revision that replaced it, and the last that hides what was before.
        self._replaced: dict[tuple[str, str], int] = {}
        self._hidden: dict[tuple[str, str], int] = {}
        traces = list(traces)
        come_back = {(one.operation_id, one.name, one.type) for one in traces if one.revision > reached}
        for one in traces:
            self._of.setdefault(one.operation_id, []).append(one)
            key, revision = (one.name, one.type), one.revision
            if revision <= reached and one.status != Status.ERROR.value:  # that was taken back
                self._replaced[key] = max(self._replaced.get(key, 0), revision)
            # The later one is on its way itself, or was rejected, and what was there before comes back.
            is_on_its_way = one.status == Status.ACCEPTED.value and revision > reached
            is_going = one.status == Status.ERROR.value and (one.operation_id, *key) in come_back
            if revision <= ahead and (is_on_its_way or is_going):
                self._hidden[key] = max(self._hidden.get(key, 0), revision)

    def shows(self, operation_id: str) -> bool:
        """Whether at least one RRset wasn't changed again since."""
        traces = self._of.get(operation_id)
        return traces is None or any(
            self._replaced.get((one.name, one.type), 0) <= one.revision for one in traces
        )

    def is_hidden(self, operation_id: str) -> bool:
        """Whether some witness shows what a later one put in the place of something of its own."""
        traces = self._of.get(operation_id, ())
        is_covered = any(self._hidden.get((one.name, one.type), 0) > one.revision for one in traces)
        return is_covered and self.shows(operation_id)
