"""What all messages of submitters have in common, and all operations: the same validation on both ends.

Validation normalises: after it, names are absolute and record data canonical.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from dnsworker import names
from dnsworker.errors import InvalidRequest
from dnsworker.names import Name
from dnsworker.operations import Change
from dnsworker.records import MAX_TTL

PREFIX = "dnsworker."
#: The argument under which a task passes on that it was called with positional arguments.
POSITIONAL = "*"
M = TypeVar("M", bound=BaseModel)
Ttl = Field(default=None, ge=0, le=MAX_TTL)
Serial = Field(default=None, ge=0, le=2**32 - 1)


def _storable(text: str) -> str:
    """Raises ValueError for what JSON can carry and a database can't hold."""
    if "\x00" in text or (not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text)):
        raise ValueError("holds a NUL or half of a character")
    return text


Storable = Annotated[str, AfterValidator(_storable)]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Order(Message):
    """The place of an operation among those of one client on one zone."""

    client: Storable = Field(min_length=1, max_length=64)
    #: 1 for the client's first operation on this zone, then 2, …
    number: int = Field(ge=1, le=2**62)
    #: Numbers whose publish failed: void.
    skips: list[int] = Field(default=[], max_length=10_000)


class Request(Message):
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


def parsed(model: type[M], kind: str, arguments: Mapping[str, Any]) -> M:
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
