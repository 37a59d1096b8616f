"""The messages that submitters send: one model per task, validated the same way on both ends.

The keyword arguments of a task are exactly the fields of its model; `dnsworker schema` prints them.
Validation normalises: after it, names are absolute and record data canonical.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dnsworker import names
from dnsworker.errors import InvalidRecord, InvalidRequest
from dnsworker.names import Name
from dnsworker.operations import Action, Change
from dnsworker.records import MAX_TTL, SOA, RRset

PREFIX = "dnsworker."
#: The argument under which a task passes on that it was called with positional arguments.
POSITIONAL = "*"
MAX_CHANGES = 100_000
DAY_S = 86_400
M = TypeVar("M", bound=BaseModel)
Ttl = Field(default=None, ge=0, le=MAX_TTL)
Serial = Field(default=None, ge=0, le=2**32 - 1)


def _storable(text: str) -> str:
    """Raises ValueError for what JSON can carry and a database can't hold."""
    if "\x00" in text or (not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text)):
        raise ValueError("holds a NUL or half of a character")
    return text


Storable = Annotated[str, AfterValidator(_storable)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Order(_Message):
    """The place of an operation among those of one client on one zone."""

    client: Storable = Field(min_length=1, max_length=64)
    #: 1 for the client's first operation on this zone, then 2, …
    number: int = Field(ge=1, le=2**62)
    #: Numbers whose publish failed: void.
    skips: list[int] = Field(default=[], max_length=10_000)


class Request(_Message):
    """What all operations have in common."""

    kind: ClassVar[str]

    zone: str
    #: Needed only while several pools hold a zone of this name.
    pool: Storable | None = Field(default=None, min_length=1, max_length=100)
    #: Lets a change pass that the guard would refuse.
    force: bool = False
    #: Kept with the operation, for whoever reads the history.
    comment: Storable | None = Field(default=None, max_length=500)
    #: None: ordered by arrival.
    order: Order | None = None

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return names.zone_name(value)

    @property
    def zone_name(self) -> Name:
        return Name(self.zone)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The RRsets that the operation wants changed; empty for operations on the zone itself."""
        return ()

    def payload(self) -> dict[str, Any]:
        """What the operation means, without its place in the order: JSON, normalised."""
        return self.model_dump(mode="json", exclude={"order"}, exclude_defaults=True)

    def digest(self, payload: Mapping[str, Any] | None = None) -> str:
        """A hash of the kind and payload: the same id with another digest is another operation."""
        meant = self.payload() if payload is None else payload
        text = json.dumps([self.kind, meant], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def summary(self) -> str:
        """A few words for people: logs, Flower."""
        return f"{self.kind} {self.zone}"


def _check_email(email: str) -> str:
    SOA.email_to_rname(email)
    return email


class CreateZone(Request):
    kind: ClassVar[str] = "create_zone"

    email: str = Field(max_length=255)
    ttl: int = Field(default=3600, ge=0, le=MAX_TTL)

    @field_validator("email")
    @classmethod
    def _email(cls, value: str) -> str:
        return _check_email(value)


class UpdateZone(Request):
    kind: ClassVar[str] = "update_zone"

    email: str | None = Field(default=None, max_length=255)
    ttl: int | None = Ttl
    # RFC 1035, section 3.3.13; bounds beyond which secondaries flood a primary or forget it, in the spirit
    # of RFC 1912, section 2.2, and for negative answers of RFC 2308, section 5. How the timers go together
    # is judged against the zone (`desired.rules.check_timers`).
    refresh: int | None = Field(default=None, ge=60, le=7 * DAY_S)
    retry: int | None = Field(default=None, ge=30, le=7 * DAY_S)
    expire: int | None = Field(default=None, ge=3600, le=365 * DAY_S)
    minimum: int | None = Field(default=None, ge=0, le=DAY_S)

    @field_validator("email")
    @classmethod
    def _email(cls, value: str | None) -> str | None:
        return value if value is None else _check_email(value)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_dump(include=set(SETTABLE), exclude_none=True):
            raise InvalidRequest(
                f"update_zone {self.zone}: nothing to change; give one of {', '.join(SETTABLE)}"
            )
        return self


SETTABLE = ("email", "ttl", "refresh", "retry", "expire", "minimum")


class DeleteZone(Request):
    kind: ClassVar[str] = "delete_zone"


class MoveZone(Request):
    """Takes the zone to another pool: delivered and verified there first, then removed where it was.

    `pool` is the one that it is in. `force` takes over a zone of that name that the new targets have.
    """

    kind: ClassVar[str] = "move_zone"

    to: Storable = Field(min_length=1, max_length=100, description="The pool that it moves to.")

    def summary(self) -> str:
        return f"{self.kind} {self.zone} to {self.to}"


class _RecordRequest(Request):
    action: ClassVar[Action]

    name: str
    type: str

    @property
    def changes(self) -> tuple[Change, ...]:
        return (Change.delete(self.name, self.type),)

    def summary(self) -> str:
        return f"{self.kind} {self.name} {self.type}"


class DeleteRecord(_RecordRequest):
    kind: ClassVar[str] = "delete_record"
    action: ClassVar[Action] = "delete"

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, raw: Any) -> Any:
        return _normalised(cls.action, raw)


class _RecordDataRequest(_RecordRequest):
    data: list[str]
    ttl: int | None = Ttl

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, raw: Any) -> Any:
        return _normalised(cls.action, raw)

    @property
    def changes(self) -> tuple[Change, ...]:
        return (Change(self.action, self.name, self.type, tuple(self.data), self.ttl),)


class CreateRecord(_RecordDataRequest):
    kind: ClassVar[str] = "create_record"
    action: ClassVar[Action] = "create"


class UpdateRecord(_RecordDataRequest):
    kind: ClassVar[str] = "update_record"
    action: ClassVar[Action] = "update"


class PutRecord(_RecordDataRequest):
    kind: ClassVar[str] = "put_record"
    action: ClassVar[Action] = "put"


class Wish(_Message):
    """One element of `change_zone`'s `changes`."""

    action: Action
    name: str
    type: str
    data: list[str] = []
    ttl: int | None = Ttl

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        # Only with data were name, type and data judged as a whole; and a put of nothing would be a deletion
        # that neither permissions nor the guard see.
        if self.action != "delete" and not self.data:
            raise InvalidRecord(
                f"{self.name} {names.shown(self.type)}: data is missing; to remove the RRset, delete it"
            )
        return self


class ChangeZone(Request):
    kind: ClassVar[str] = "change_zone"

    wishes: list[Wish] = Field(alias="changes", min_length=1, max_length=MAX_CHANGES)

    model_config = ConfigDict(serialize_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("changes"), list | tuple):
            return raw
        zone = raw.get("zone")
        wishes = [
            _normalised(wish.get("action"), {**wish, "zone": zone}, keep_zone=False)
            if isinstance(wish, Mapping)
            else wish
            for wish in raw["changes"]
        ]
        return {**raw, "changes": wishes}

    @model_validator(mode="after")
    def _one_wish_each(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for wish in self.wishes:
            if (wish.name, wish.type) in seen:
                raise InvalidRecord(
                    f"{wish.name} {wish.type} is named twice in one change_zone; give it once"
                )
            seen.add((wish.name, wish.type))
        return self

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(Change(w.action, w.name, w.type, tuple(w.data), w.ttl) for w in self.wishes)

    def summary(self) -> str:
        return f"{self.kind} {self.zone} ({len(self.wishes)} RRsets)"


class ImportZone(Request):
    """Makes the zone's contents those of a zone file; creates the zone if there is none.

    The SOA's timers and serial are taken over, its names and the apex NS are the pool's; with `adopt` all
    of it is the file's.
    """

    kind: ClassVar[str] = "import_zone"

    text: str
    email: str | None = Field(default=None, max_length=255)
    adopt: bool = Field(
        default=False,
        description="Take over the apex NS and the whole SOA from the file, which must have both, and not "
        "only the records: mname, rname, timers, TTL, and, for a zone that is new here, the very serial. So "
        "a server that has exactly these contents is not written to. An `email` replaces the rname.",
    )

    @field_validator("email")
    @classmethod
    def _email(cls, value: str | None) -> str | None:
        return value if value is None else _check_email(value)

    def summary(self) -> str:
        return f"{self.kind} {self.zone} ({len(self.text)} characters)"


class RestoreZone(Request):
    """Brings back what the zone was at a serial or at a time, as a new change.

    A zone that was deleted is created again.
    """

    kind: ClassVar[str] = "restore_zone"

    serial: int | None = Serial
    to: str | None = Field(
        default=None,
        max_length=100,
        description="Instead of `serial`: a time with its offset from UTC (ISO 8601).",
    )

    @field_validator("to")
    @classmethod
    def _to(cls, value: str | None) -> str | None:
        return value if value is None else _checked_moment(value).isoformat()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.serial is None) == (self.to is None):
            raise InvalidRequest(f"restore_zone {self.zone}: give either serial or to")
        return self

    @property
    def moment(self) -> datetime | None:
        """`to` as a time, in UTC."""
        return None if self.to is None else datetime.fromisoformat(self.to)

    def summary(self) -> str:
        return f"{self.kind} {self.zone} to {self.to or f'serial {self.serial}'}"


def _checked_moment(text: str) -> datetime:
    """The time in UTC. Raises `InvalidRequest`."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidRequest(
        f"{names.shown(text)} is no time with an offset from UTC, like 2026-11-27T09:30:00+01:00 or …Z"
    )


class ZoneQuery(_Message):
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


class DryRunQuery(_Message):
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


class OperationQuery(_Message):
    id: str = Field(min_length=1, max_length=64)


OPERATIONS: dict[str, type[Request]] = {
    model.kind: model
    for model in (
        CreateZone, UpdateZone, DeleteZone, CreateRecord, UpdateRecord, PutRecord, DeleteRecord,
        ChangeZone, ImportZone, RestoreZone, MoveZone,
    )
}  # fmt: skip

QUERIES: dict[str, type[_Message]] = {
    "show_zone": ZoneQuery,
    "list_records": RecordQuery,
    "export_zone": ZoneQuery,
    "show_history": HistoryQuery,
    "show_operation": OperationQuery,
    "dry_run": DryRunQuery,
}


def parse_request(kind: str, arguments: Mapping[str, Any]) -> Request:
    """The operation that a message asks for. Raises `InvalidRequest` (or a subclass) in one line."""
    return _parsed(OPERATIONS[kind], kind, arguments)


def parse_query(kind: str, arguments: Mapping[str, Any]) -> Any:
    """The same for a query: one of the models in `QUERIES`."""
    return _parsed(QUERIES[kind], kind, arguments)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of every task's keyword arguments, by task name."""
    models = {**OPERATIONS, **QUERIES}
    return {PREFIX + kind: model.model_json_schema(by_alias=True) for kind, model in models.items()}


def _parsed(model: type[M], kind: str, arguments: Mapping[str, Any]) -> M:
    if POSITIONAL in arguments:
        raise InvalidRequest(f"{kind}: give its arguments by keyword")
    try:
        return model.model_validate(dict(arguments))
    except ValidationError as exc:
        raise InvalidRequest(f"{kind}: {_first_line(exc)}") from exc


def _first_line(error: ValidationError) -> str:
    parts = []
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        where = ".".join(names.shown(step) for step in one["loc"])
        said = {"missing": "is missing", "extra_forbidden": "is not an argument of this task"}
        parts.append(
            f"{where} {said.get(one['type'], '')}".rstrip()
            + ("" if one["type"] in said else f": {one['msg']}")
        )
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f" (and {more} more)" if more > 0 else "")


def _normalised(action: object, raw: Any, *, keep_zone: bool = True) -> Any:
    """Names made absolute, type upper case, data canonical; left alone where pydantic must refuse it."""
    if not isinstance(raw, Mapping):
        return raw
    zone, name, type_ = raw.get("zone"), raw.get("name"), raw.get("type")
    wish = dict(raw) if keep_zone else {key: value for key, value in raw.items() if key != "zone"}
    if not (isinstance(zone, str) and isinstance(name, str) and isinstance(type_, str)):
        return wish
    owner = names.record_name(name, names.zone_name(zone))
    wish["name"] = owner
    data, ttl = raw.get("data"), raw.get("ttl")
    if action == "delete":
        wish["type"] = RRset.checked_type(type_)
        if data:
            raise InvalidRecord(f"{owner} {wish['type']}: delete takes no data; it removes the whole RRset")
    elif isinstance(data, list | tuple) and all(isinstance(value, str) for value in data):
        has_ttl = isinstance(ttl, int) and not isinstance(ttl, bool) and 0 <= ttl <= MAX_TTL
        rrset = RRset(owner, type_, ttl if has_ttl else 0, tuple(data))  # type: ignore[arg-type]
        wish["type"], wish["data"] = rrset.type, list(rrset.data)
    return wish
