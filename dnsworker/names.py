"""Domain names as canonical text, and the rules for the names that users type.

Everywhere in dnsworker a `Name` is absolute, lower case, in A-labels and escaped as dnspython escapes it,
so that two names are equal exactly when their texts are.
"""

from __future__ import annotations

from typing import NewType

Name = NewType("Name", str)


def zone_name(text: str) -> Name:
    """The zone that `text` names; its final dot may be missing. Raises `InvalidName`."""
    raise NotImplementedError


def record_name(text: str, zone: Name) -> Name:
    """The absolute name of a record that `text` names in `zone`.

    `@` is the apex; without a final dot it is relative to the zone, with it absolute. A dotless name that
    ends in the zone's own name is refused as ambiguous. Raises `InvalidName`.
    """
    raise NotImplementedError


def absolute_name(text: str) -> Name:
    """`text`, which must end in a dot, as a `Name`. Raises `InvalidName`."""
    raise NotImplementedError


def is_within(name: Name, zone: Name) -> bool:
    """Whether `name` is `zone` or lies below it."""
    raise NotImplementedError


def ancestors(name: Name, zone: Name) -> list[Name]:
    """The names above `name`, nearest first, ending with `zone` itself. Empty for the apex."""
    raise NotImplementedError


def parent(name: Name) -> Name:
    """`name` without its first label; the root for a top-level name."""
    raise NotImplementedError


def wildcard_below(name: Name) -> Name:
    """`*.` + name."""
    raise NotImplementedError


def sort_key(name: Name) -> str:
    """A text that sorts names so that each is followed by everything below it (for database columns).

    It is the labels from the root down, each followed by a blank: `org example www `. A label's own
    blanks are escaped, so `key(a).startswith(key(b))` holds exactly when `a` is `b` or below it.
    """
    raise NotImplementedError
