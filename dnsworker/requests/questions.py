"""The questions that submitters ask, by the name of their task: they change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from dnsworker import names
from dnsworker.errors import InvalidRequest
from dnsworker.names import Name
from dnsworker.records import RRset
from dnsworker.requests.kinds import OPERATIONS, parse_request
from dnsworker.requests.request import PREFIX, Message, Request, Serial, Storable, parsed


class ZoneQuery(Message):
    """A question about one zone: `show_zone`, `export_zone`."""

    zone: str
    pool: str | None = None

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return names.zone_name(value)


class _NamedQuery(ZoneQuery):
    """A question about a zone, or about one name in it."""

    #: As for a record: `@`, relative, or absolute.
    name: str | None = None

    @property
    def owner(self) -> Name | None:
        """The absolute name asked for. Raises `InvalidName`."""
        return None if self.name is None else names.record_name(self.name, Name(self.zone))

    @model_validator(mode="after")
    def _has_usable_name(self) -> Self:
        _ = self.owner
        return self


class RecordQuery(_NamedQuery):
    """`list_records`: optionally only one name or type."""

    type: str | None = None

    @field_validator("type")
    @classmethod
    def _type(cls, value: str | None) -> str | None:
        return value if value is None else RRset.checked_type(value)


class HistoryQuery(_NamedQuery):
    """`show_history`: what was changed, the latest first; with a name, only what was changed there."""

    #: Only the change with this serial, whole.
    serial: int | None = Serial
    #: Only what came before the change with this serial.
    before: int | None = Serial
    limit: int = Field(default=20, ge=1, le=1000)


class DryRunQuery(Message):
    """`dry_run`: what an operation would do now, or why it would be refused. Nothing is done."""

    task: str = Field(description="Of the operation: put_record, import_zone, …")
    arguments: dict[str, Any] = Field(description="Of that task; a place in an order is left out.")
    id: Storable | None = Field(default=None, min_length=1, max_length=64)

    @cached_property
    def request(self) -> Request:
        """The operation. Raises `InvalidRequest`."""
        kind = self.task.removeprefix(PREFIX)
        if kind not in OPERATIONS:
            raise InvalidRequest(
                f"dry_run: there is no operation {names.shown(self.task)}; "
                f"there are {', '.join(sorted(OPERATIONS))}"
            )
        return parse_request(kind, self.arguments)

    @model_validator(mode="after")
    def _has_usable_arguments(self) -> Self:
        _ = self.request
        return self


class OperationQuery(Message):
    id: str = Field(min_length=1, max_length=64)


QUERIES: dict[str, type[Message]] = {
    "show_zone": ZoneQuery,
    "list_records": RecordQuery,
    "export_zone": ZoneQuery,
    "show_history": HistoryQuery,
    "show_operation": OperationQuery,
    "dry_run": DryRunQuery,
}


def parse_query(kind: str, arguments: Mapping[str, Any]) -> Any:
    """The same for a query: one of the models in `QUERIES`."""
    return parsed(QUERIES[kind], kind, arguments)
