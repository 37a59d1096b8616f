"""Operations on a zone as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from dnsworker import names
from dnsworker.errors import InvalidRequest
from dnsworker.records import MAX_TTL, SOA
from dnsworker.requests.request import Request, Serial, Storable, Ttl

DAY_S = 86_400


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
