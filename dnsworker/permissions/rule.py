"""One rule of permissions.yaml, and whether it allows or refuses what a request needs.

Two principles keep it safe without knowing what is in a zone: a rule that allows must cover all that a
request may touch, and for one that refuses it is enough to cover some of it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator, model_validator

from dnsworker.errors import InvalidName, InvalidRecord
from dnsworker.permissions.demand import FORCE, READ, RECORD_WORDS, ZONE_WORDS, Demand
from dnsworker.permissions.patterns import EVERYTHING, NamePatterns, ZonePatterns
from dnsworker.records import RRset

ALL = "all"
WORDS = (*RECORD_WORDS, READ, *ZONE_WORDS, FORCE, ALL)
#: What a word allows beside itself: whoever may put can do what create and update do. `all` leaves out force.
ALLOWS = {"put": ("create", "update"), ALL: (*RECORD_WORDS, READ, *ZONE_WORDS)}
#: What a word refuses beside itself: a put may do what a refused create would.
REFUSES = {
    "create": ("put",),
    "update": ("put",),
    "put": ("create", "update"),
    ALL: (*RECORD_WORDS, READ, *ZONE_WORDS, FORCE),
}
#: What operations on whole zones do to RRsets, as far as rules that refuse are concerned.
TOUCHES = {"import_zone": RECORD_WORDS, "restore_zone": RECORD_WORDS, "delete_zone": ("delete",)}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Rule(BaseModel):
    """One line of what a user may do, or may not."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    may: OneOrMore = ()
    may_not: OneOrMore = ()
    zones: OneOrMore
    names: OneOrMore | None = None
    types: OneOrMore | None = None
    pools: OneOrMore | None = None
    #: For people.
    comment: str | None = None

    @field_validator("may", "may_not")
    @classmethod
    def _known_words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("says nothing; leave it out, or give some of: " + ", ".join(WORDS))
        for word in value:
            if word not in WORDS:
                raise ValueError(f"{word!r} is none of: {', '.join(WORDS)}")
        return value

    @field_validator("zones", "names", "types", "pools")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not all(value):
            raise ValueError("has an empty entry")
        if value is not None and not value:
            raise ValueError("is empty: leave it out, if all are meant")
        return value

    @field_validator("types")
    @classmethod
    def _known_types(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None or EVERYTHING in value:
            return None
        try:
            return tuple(RRset.checked_type(one) for one in value)
        except InvalidRecord as exc:
            raise ValueError(exc.message) from exc

    @field_validator("zones")
    @classmethod
    def _usable_zones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(ZonePatterns, value)

    @field_validator("names")
    @classmethod
    def _usable_names(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None or EVERYTHING in value else _checked(NamePatterns, value)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if bool(self.may) == bool(self.may_not):
            raise ValueError("give one of may and may_not")
        limits = [word for word in ("names", "types") if getattr(self, word) is not None]
        whole = [word for word in self.words if word in (*ZONE_WORDS, FORCE, ALL)]
        if limits and whole:
            raise ValueError(
                f"{whole[0]} concerns a zone as a whole and can't be limited by {limits[0]}: give it a rule "
                f"of its own; {', '.join(RECORD_WORDS)} and {READ} can be limited"
            )
        self._refuse_ambiguous_names()
        return self

    def _refuse_ambiguous_names(self) -> None:
        """A name that is relative, and reads as if it weren't."""
        for zone in self.zones:
            end = "." + zone.removeprefix("*.").rstrip(".").lower()
            for name in self.names or ():
                if zone != EVERYTHING and name.lower().endswith(end):
                    raise ValueError(
                        f"names: {name!r} ends in the zone's name but not in a dot: write {name + '.'!r}, "
                        f"or {name[: -len(end)]!r}"
                    )

    @property
    def words(self) -> tuple[str, ...]:
        return self.may or self.may_not

    @cached_property
    def meant(self) -> frozenset[str]:
        """The words, and those that they include."""
        beside = ALLOWS if self.may else REFUSES
        return frozenset(self.words).union(*(beside.get(word, ()) for word in self.words))

    @cached_property
    def zone_patterns(self) -> ZonePatterns:
        return ZonePatterns(self.zones)

    @cached_property
    def name_patterns(self) -> NamePatterns | None:
        return None if self.names is None else NamePatterns(self.names)

    def shortfall(self, demand: Demand) -> str | None:
        """Why this rule, which says `may` and concerns the zone, doesn't allow it; None if it does."""
        if demand.word not in self.meant:
            return f"it doesn't say {demand.word}"
        if self.pools is not None and demand.pool not in self.pools:
            return f"it is for pool {' or '.join(self.pools)}" + (
                "" if demand.pool else ", and the request names none: say which with pool="
            )
        if self.name_patterns is not None and (
            demand.name is None or not self.name_patterns.match(demand.name, demand.zone)
        ):
            return f"it is for the names {', '.join(self.names or ())}"
        if self.types is not None and demand.type not in self.types:
            return f"it is for the types {', '.join(self.types)}"
        return None

    def refuses(self, demand: Demand) -> bool:
        """Whether some of it may be what this rule, which says `may_not` and concerns the zone, refuses."""
        if demand.word not in self.meant and self.meant.isdisjoint(TOUCHES.get(demand.word, ())):
            return False
        if self.pools is not None and demand.pool is not None and demand.pool not in self.pools:
            return False
        if self.types is not None and demand.type is not None and demand.type not in self.types:
            return False
        return (
            self.name_patterns is None
            or demand.name is None
            or self.name_patterns.match(demand.name, demand.zone)
        )

    def __str__(self) -> str:
        text = f"{'may' if self.may else 'may_not'} {', '.join(self.words)}"
        if self.types is not None:
            text += f" {', '.join(self.types)}"
        if self.names is not None:
            text += f" at {', '.join(self.names)}"
        zones = "all zones" if EVERYTHING in self.zones else ", ".join(self.zones)
        return f"{text} in {zones}" + (f" of pool {', '.join(self.pools)}" if self.pools else "")


def _checked(patterns: Any, texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        patterns(texts)
    except InvalidName as exc:
        raise ValueError(exc.message) from exc
    return texts
