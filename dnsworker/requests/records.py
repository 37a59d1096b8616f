"""Operations on records: one RRset each, or several of them, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from dnsworker import names
from dnsworker.errors import InvalidRecord
from dnsworker.operations import Action, Change
from dnsworker.records import MAX_TTL, RRset
from dnsworker.requests.request import Message, Request, Ttl

MAX_CHANGES = 100_000


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


class Wish(Message):
    """One element of `change_zone`'s `changes`."""

    action: Action
    name: str
    type: str
    data: list[str] = Field(default=[])
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
