"""Values of rows as JSON has them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dnsworker.operations import submitted_at as when_submitted


def submitted_at(row: Any) -> datetime:
    """When an operation was submitted, of which the row has the id and `received_at`.

    A UUIDv7 (RFC 9562, section 5.7) says when it was made; else when it arrived is all that is known. The
    id is a submitter's: it may name any time up to the year 10889.
    """
    moment = when_submitted(row.id, row.received_at)
    assert moment is not None, "a row has one"
    return moment


def plain(row: Any) -> dict[str, Any]:
    return {key: text(value) if isinstance(value, datetime) else value for key, value in row._mapping.items()}


def text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
