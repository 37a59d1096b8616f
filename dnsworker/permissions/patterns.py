"""Patterns for the names of zones and records, as permissions.yaml writes them.

    zones   example.org              this zone
            *.example.org            every zone below it, at any depth, not itself
            customer-*.example.org   `*` within a label: anything but a dot
            *                        every zone
    names   @                        the zone's own name
            www                      relative to the zone
            www.example.org.         with the final dot: absolute
            *.dev                    every name below dev, not dev itself
            _acme-challenge.*        this, below whatever name: `_acme-challenge.www` and `_acme-challenge`
            web-*.dev                `*` within a label: anything but a dot
            *                        every name

Both are compared with canonical names, so case and spelling (IDNA) don't matter. Separate from the
permissions, so that what a pattern means can be tested by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dnsworker import names
from dnsworker.errors import InvalidName
from dnsworker.names import Name, shown

EVERYTHING = "*"
APEX = "@"
#: What a `*` may stand for: any of one label of canonical text, and such a label.
_PART = r"(?:[^.\\]|\\.)*"
_LABEL = r"(?:[^.\\]|\\.)+"
_GLOB = re.compile(r"[a-z0-9_*-]+")
_DOTS = str.maketrans("。．｡", "...")  # as `names` reads them


class ZonePatterns:
    """Which zones are meant. Raises `InvalidName` for what is no pattern."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.is_everything = False
        #: Zones by their names, and the names below which zones are meant.
        self.exact: set[Name] = set()
        self.below: set[Name] = set()
        self._others: list[re.Pattern[str]] = []
        for text in texts:
            self._add(text)

    def _add(self, text: str) -> None:
        if text == EVERYTHING:
            self.is_everything = True
        elif "*" not in text or "\\" in text:
            self.exact.add(names.zone_name(text))
        elif "*" not in text[2:] and text.startswith("*."):
            self.below.add(names.zone_name(text[2:]))
        else:
            labels = _labels(text.removesuffix("."), text)
            if labels[-1] == EVERYTHING:
                raise InvalidName(f"{shown(text)}: a * at the end would mean zones of whomever; name the end")
            self._others.append(re.compile(_regex(labels) + r"\."))

    @property
    def is_simple(self) -> bool:
        """Whether `exact` and `below` say it all."""
        return not self.is_everything and not self._others

    def match(self, zone: Name) -> bool:
        if self.is_everything or zone in self.exact:
            return True
        if self.below and any(above in self.below for above in names.ancestors(zone, names.ROOT)):
            return True
        return any(pattern.fullmatch(zone) for pattern in self._others)


class NamePatterns:
    """Which names of records are meant. Raises `InvalidName` for what is no pattern."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._is_everything = False
        self._absolute: set[str] = set()
        self._relative: set[str] = set()
        self._absolute_patterns: list[re.Pattern[str]] = []
        self._relative_patterns: list[re.Pattern[str]] = []
        for text in texts:
            self._add(text)

    def _add(self, text: str) -> None:
        if text == EVERYTHING:
            self._is_everything = True
        elif text == APEX:
            self._relative.add(APEX)
        elif "*" not in text or "\\" in text:
            # A `*` after a backslash stands for itself: the wildcard record.
            is_absolute = text.endswith(".") and not text.endswith("\\.")
            name = names.absolute_name(text if is_absolute else text + ".")
            (self._absolute if is_absolute else self._relative).add(name if is_absolute else name[:-1])
        elif text.endswith("."):
            labels = _labels(text[:-1], text)
            self._absolute_patterns.append(re.compile(_regex(labels) + r"\."))
        else:
            self._relative_patterns.append(re.compile(_regex(_labels(text, text))))

    def match(self, name: Name, zone: Name) -> bool:
        """Whether a name in the zone is one of these."""
        if self._is_everything or name in self._absolute:
            return True
        relative = APEX if name == zone else name[: -len(zone) - 1]
        if relative in self._relative:
            return True
        return any(pattern.fullmatch(relative) for pattern in self._relative_patterns) or any(
            pattern.fullmatch(name) for pattern in self._absolute_patterns
        )


def _labels(text: str, whole: str) -> list[str]:
    """The labels of a pattern without a final dot, each canonical, or with a `*` in it."""
    return [_label(label, whole) for label in text.translate(_DOTS).split(".")]


def _label(label: str, whole: str) -> str:
    if "*" in label:
        glob = label.lower()
        if not _GLOB.fullmatch(glob):
            raise InvalidName(
                f"{shown(whole)}: beside a * a label has only letters of ASCII, digits, '-' and '_'; "
                "write what isn't ASCII as its A-label (xn--…)"
            )
        return glob
    if not label:
        raise InvalidName(f"{shown(whole)} has an empty label: two dots in a row, or one at the start")
    return names.absolute_name(label + ".")[:-1]


def _regex(labels: list[str]) -> str:
    """For canonical text without its final dot: `*` first is one label or more, last is none or more."""
    pieces = [_label_regex(label) for label in labels]
    if labels[-1] == EVERYTHING and len(labels) > 1:
        pieces[-2:] = [pieces[-2] + rf"(?:\.{_LABEL})*"]
    if labels[0] == EVERYTHING:
        pieces[0] = rf"{_LABEL}(?:\.{_LABEL})*"
    return r"\.".join(pieces)


def _label_regex(label: str) -> str:
    if label == EVERYTHING:
        return _LABEL
    return _PART.join(re.escape(part) for part in label.split("*"))
