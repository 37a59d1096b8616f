"""How far the targets and nameservers of a zone are."""

from __future__ import annotations

from dnsworker.operations import NameserverReport, TargetReport
from dnsworker.standing import SPREADING, Standing


def target_reports(
    standing: Standing, revision: int | None, operation_id: str | None = None
) -> list[TargetReport]:
    """How far each target of the zone is with a revision (and what it refuses of the operation)."""
    reports = []
    for name, row in standing.rows.items():
        refused = [
            {"name": one.key[0], "type": one.key[1], "message": one.message, "operation": one.operation_id}
            for one in standing.withheld
            if one.target_id == row.target_id and operation_id in (None, one.operation_id)
        ]
        stopped = standing.standstills.get(name)
        reason = row.last_error or (stopped.reason if stopped else None)
        if stopped is not None and stopped.is_ordered:
            reason = stopped.reason
        if reason is None and row.unconfirmed:
            reason = SPREADING
        budget = standing.known.pool.target(name).limits.budget
        if reason is None and budget and row.due_at is not None and row.owner is None:
            reason = f"waits its turn within {budget}"
        next_attempt = row.due_at
        if next_attempt is not None and stopped is not None:
            if stopped.until is not None:
                next_attempt = max(next_attempt, stopped.until)
            elif stopped.is_ordered:
                next_attempt = None
        serial = None if row.soa is None else int(row.soa.split()[2])
        reports.append(
            TargetReport(
                target=name,
                serial=serial,
                delivered_at=row.delivered_at,
                state=row.state,
                attempts=row.attempts,
                withheld=refused,
                is_current=row.confirmed_revision >= (revision or 0)
                and row.state not in ("foreign", "creating"),
                last_error=reason,
                next_attempt_at=next_attempt,
                last_repair=row.last_repair,
                last_repair_at=row.last_repair_at,
                drift=row.drift,
                ds_records=row.ds_records or [],
            )
        )
    return reports


def nameserver_reports(standing: Standing, revision: int | None) -> list[NameserverReport]:
    """What each nameserver of the zone last answered, against a revision."""
    reports = []
    for one in standing.witnesses:
        seen = standing.seen.get(one.name)
        reports.append(
            NameserverReport(
                nameserver=one.name,
                is_current=standing.verified(one) >= (revision or 0),
                serial=seen.serial if seen else None,
                verified_at=seen.verified_at if seen and seen.verified_revision else None,
                seen_at=seen.seen_at if seen else None,
                error=seen.error if seen else None,
            )
        )
    return reports
