"""The kinds of operations that there are, by the name of their task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnsworker.requests.records import ChangeZone, CreateRecord, DeleteRecord, PutRecord, UpdateRecord
from dnsworker.requests.request import Request, parsed
from dnsworker.requests.zones import CreateZone, DeleteZone, ImportZone, MoveZone, RestoreZone, UpdateZone

OPERATIONS: dict[str, type[Request]] = {
    model.kind: model
    for model in (
        CreateZone, UpdateZone, DeleteZone, CreateRecord, UpdateRecord, PutRecord, DeleteRecord,
        ChangeZone, ImportZone, RestoreZone, MoveZone,
    )
}  # fmt: skip


def parse_request(kind: str, arguments: Mapping[str, Any]) -> Request:
    """The operation that a message asks for. Raises `InvalidRequest` (or a subclass) in one line."""
    return parsed(OPERATIONS[kind], kind, arguments)
