"""Operations on records: one RRset each, or several of them, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, NotRequired, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict  # pydantic takes the standard library's from Python 3.12 on

from dnsworker import names
from dnsworker.errors import InvalidRecord
from dnsworker.names import Name
from dnsworker.operations import Action, Change
from dnsworker.records import MAX_TTL, RRset
from dnsworker.requests.request import Request, Ttl

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
        return _normalised_with_zone(cls.action, raw)


class _RecordDataRequest(_RecordRequest):
    data: list[str]
    ttl: int | None = Ttl

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, raw: Any) -> Any:
        return _normalised_with_zone(cls.action, raw)

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


class Wish(TypedDict):
    """One element of `change_zone`'s `changes`."""

    # No model: there are up to 100,000 of them.
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    action: Action
    name: str
    type: str
    data: NotRequired[list[str]]
    ttl: NotRequired[Annotated[int | None, Field(ge=0, le=MAX_TTL)]]


class ChangeZone(Request):
    kind: ClassVar[str] = "change_zone"

    wishes: list[Wish] = Field(alias="changes", min_length=1, max_length=MAX_CHANGES)

    model_config = ConfigDict(serialize_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("changes"), list | tuple):
            return raw
        if not isinstance(raw.get("zone"), str):
            return raw
        zone = names.zone_name(raw["zone"])
        wishes = [
            _without_nothing(_normalised(wish.get("action"), wish, zone))
            if isinstance(wish, Mapping)
            else wish
            for wish in raw["changes"]
        ]
        return {**raw, "changes": wishes}

    @model_validator(mode="after")
    def _judge_wishes(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for wish in self.wishes:
            # Only with data were name, type and data judged as a whole; and a put of nothing would be a
            # deletion that neither permissions nor the guard see.
            name, type_ = wish["name"], wish["type"]
            if not wish.get("data") and wish["action"] != "delete":
                raise InvalidRecord(
                    f"{name} {names.shown(type_)}: data is missing; to remove the RRset, delete it"
                )
            if (name, type_) in seen:
                raise InvalidRecord(f"{name} {type_} is named twice in one change_zone; give it once")
            seen.add((name, type_))
        return self

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        return tuple(
            [
                Change(one["action"], one["name"], one["type"], tuple(one.get("data", ())), one.get("ttl"))
                for one in self.wishes
            ]
        )

    def summary(self) -> str:
        return f"{self.kind} {self.zone} ({len(self.wishes)} RRsets)"


def _without_nothing(wish: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said by saying nothing is left out: it is the same operation (see `Request.digest`).

    So is a zone of its own, whatever it says: the operation's is meant.
    """
    nothing = [key for key, value in (("ttl", None), ("data", [])) if wish.get(key, ...) == value]
    if "zone" in wish:
        nothing.append("zone")
    return {key: wish[key] for key in wish if key not in nothing} if nothing else wish


def _normalised_with_zone(action: object, raw: Any) -> Any:
    if not (isinstance(raw, Mapping) and isinstance(raw.get("zone"), str)):
        return raw
    return _normalised(action, raw, names.zone_name(raw["zone"]))


def _normalised(action: object, raw: Mapping[str, Any], zone: Name) -> Mapping[str, Any]:
    """Names made absolute, type upper case, data canonical; left alone where pydantic must refuse it."""
    name, type_ = raw.get("name"), raw.get("type")
    if not (isinstance(name, str) and isinstance(type_, str)):
        return raw
    wish = dict(raw)
    wish["name"] = owner = names.record_name(name, zone)
    data, ttl = raw.get("data"), raw.get("ttl")
    if action == "delete":
        wish["type"] = RRset.checked_type(type_)
        if data:
            raise InvalidRecord(f"{owner} {wish['type']}: delete takes no data; it removes the whole RRset")
    elif isinstance(data, list | tuple) and all(isinstance(value, str) for value in data):
        has_ttl = isinstance(ttl, int) and not isinstance(ttl, bool) and 0 <= ttl <= MAX_TTL
        rrset = RRset(owner, type_, ttl if has_ttl else 0, data)  # type: ignore[arg-type]
        wish["type"], wish["data"] = rrset.type, list(rrset.data)
    return wish
