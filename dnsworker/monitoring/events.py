"""What happens in a process, counted there: one object for each, with a method for each kind of event.

Nothing here waits, writes or asks: an event costs a microsecond or two, after the transaction that it is
about. How things *stand* is not counted but read (`dnsworker.monitoring.state`). Labels are kinds, codes,
targets and nameservers, which are few; never zones, names or ids, which are not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from dnsworker.intake import Decision
from dnsworker.operations import Outcome, Status, submitted_at

#: From an idle system's tens of milliseconds to a target that is away for an hour.
WAYS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
#: Waiting for a token of a budget; a sweep.
SHORT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# One series more for each, which only OpenMetrics' readers know what to do with.
disable_created_metrics()  # type: ignore[no-untyped-call]

Verdict = Literal["right", "disagrees", "unanswered"]
Seen = Literal["as_left", "changed", "failed"]


class Events:
    """The counts of one process. Safe for threads."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._submissions = Counter(
            "dnsworker_submissions", "Operations taken in for the first time.", ["kind"], registry=registry
        )
        self._ends = Counter(
            "dnsworker_operations_ended",
            "Operations that have come to their one end. The code is empty unless the status is ERROR.",
            ["kind", "status", "code"], registry=registry,
        )  # fmt: skip
        self._accepted = Histogram(
            "dnsworker_time_to_accepted_seconds",
            "From an operation's submission to its place in the database.",
            ["kind"], buckets=WAYS_S, registry=registry,
        )  # fmt: skip
        self._served = Histogram(
            "dnsworker_time_to_served_seconds",
            "From an operation's submission until this nameserver was seen to answer with it, of operations "
            "that had no end before.",
            ["nameserver"], buckets=WAYS_S, registry=registry,
        )  # fmt: skip
        self._active = Histogram(
            "dnsworker_time_to_active_seconds",
            "From an operation's submission to ACTIVE.",
            ["kind"], buckets=WAYS_S, registry=registry,
        )  # fmt: skip
        self._deliveries = Counter(
            "dnsworker_deliveries", "Deliveries that came to their goal.", ["target"], registry=registry
        )
        self._retries = Counter(
            "dnsworker_delivery_retries",
            "Deliveries that broke off and are tried again, by the error's code.",
            ["target", "reason"], registry=registry,
        )  # fmt: skip
        self._blocked = Counter(
            "dnsworker_deliveries_blocked",
            "Deliveries that stopped until an operator decides, by the error's code.",
            ["target", "reason"], registry=registry,
        )  # fmt: skip
        self._repairs = Counter(
            "dnsworker_repairs", "Repairs of what somebody else had changed.", ["target"], registry=registry
        )
        self._looks = Counter(
            "dnsworker_looks",
            "Looks at a target whether a zone is still as it was left there.",
            ["target", "result"], registry=registry,
        )  # fmt: skip
        self._turned_away = Counter(
            "dnsworker_budget_postponements",
            "Deliveries that did not begin because the target's rate budget was used up.",
            ["target"], registry=registry,
        )  # fmt: skip
        self._waits = Histogram(
            "dnsworker_budget_wait_seconds",
            "Waits for the target's rate budget in the middle of a delivery.",
            ["target"], buckets=SHORT_S, registry=registry,
        )  # fmt: skip
        self._verifications = Counter(
            "dnsworker_verifications",
            "Questions to a nameserver about a zone, by what its answers said.",
            ["nameserver", "verdict"], registry=registry,
        )  # fmt: skip
        self._sweeps = Histogram(
            "dnsworker_sweep_seconds", "Sweeps, and how long they took.", buckets=SHORT_S, registry=registry
        )
        self._findings = Counter(
            "dnsworker_sweep_findings",
            "What sweeps found by the wayside.",
            ["finding"], registry=registry,
        )  # fmt: skip

    def took_in(self, decisions: Mapping[str, Decision]) -> None:
        """What a committed transaction of the intake has decided, by operation."""
        moment = time.time()
        for operation_id, one in decisions.items():
            if one.is_first:
                self._submissions.labels(one.kind).inc()
            if one.status is Status.ERROR:
                self._ends.labels(one.kind, one.status.value, one.code or "").inc()
            # Of one that came by a message and doesn't say when it was made, nobody knows how long it took.
            elif one.status is Status.ACCEPTED and (made := submitted_at(operation_id, one.received_at)):
                self._accepted.labels(one.kind).observe(max(0.0, moment - made.timestamp()))

    def ended(self, outcomes: Iterable[Outcome]) -> None:
        """Operations that a committed settlement has given their end."""
        for one in outcomes:
            self._ends.labels(one.kind, one.status.value, one.code or "").inc()
            if one.status is Status.ACTIVE and one.finished_at and one.submitted_at:
                took = (one.finished_at - one.submitted_at).total_seconds()
                self._active.labels(one.kind).observe(max(0.0, took))

    def served(self, seen: Sequence[tuple[str, datetime]]) -> None:
        """Nameservers that show an operation from now on, and when that was submitted."""
        moment = time.time()
        for nameserver, submitted in seen:
            self._served.labels(nameserver).observe(max(0.0, moment - submitted.timestamp()))

    def judged(self, nameserver: str, verdict: Verdict) -> None:
        self._verifications.labels(nameserver, verdict).inc()

    def delivered(self, target: str, count: int = 1) -> None:
        self._deliveries.labels(target).inc(count)

    def retried(self, target: str, reason: str, count: int = 1) -> None:
        self._retries.labels(target, reason).inc(count)

    def blocked(self, target: str, reason: str) -> None:
        self._blocked.labels(target, reason).inc()

    def repaired(self, target: str, count: int) -> None:
        self._repairs.labels(target).inc(count)

    def looked(self, target: str, result: Seen) -> None:
        self._looks.labels(target, result).inc()

    def turned_away(self, target: str) -> None:
        self._turned_away.labels(target).inc()

    def waited(self, target: str, seconds: float) -> None:
        self._waits.labels(target).observe(seconds)

    def swept(self, found: Mapping[str, int], seconds: float) -> None:
        self._sweeps.observe(seconds)
        for finding, count in found.items():
            self._findings.labels(finding).inc(count)
