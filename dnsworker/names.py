"""Domain names as canonical text, and the rules for the names that users type.

Everywhere in dnsworker a `Name` is absolute, lower case, in A-labels and escaped as dnspython escapes it,
so that two names are equal exactly when their texts are.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import NewType

import dns.name
import idna

from dnsworker.errors import InvalidName

Name = NewType("Name", str)

ROOT = Name(".")
MAX_LABEL_OCTETS = 63  # RFC 1035, section 2.3.4
MAX_NAME_OCTETS = 255  # the same; counts a length octet per label and the root's
#: No name is written longer, with each octet as `\DDD`: what is longer isn't taken apart, which takes long.
LONGEST_TEXT = 4 * MAX_NAME_OCTETS

#: Text that is canonical as it stands: most names; a wildcard only as the first whole label.
_CANONICAL = re.compile(r"(?:\*\.)?(?:[a-z0-9_-]{1,63}\.)*")
#: Labels as most are typed: every character stands for itself.
_TYPED_LABEL = re.compile(r"[A-Za-z0-9_*-]+")
_PLAIN_LABEL = re.compile(rb"[a-z0-9_*-]+")
_ESCAPED_OCTETS = frozenset(rb'"().;\@$')  # dnspython's choice; $ and @ are special at the start of a line
_ELEMENT = re.compile(r"\\(?P<octet>[0-9]{3})|\\(?P<quoted>[^0-9])|(?P<plain>[^\\])", re.DOTALL)
_IDEOGRAPHIC_DOTS = str.maketrans("。．｡", "...")  # RFC 3490, section 3.1; UTS 46, section 2.3
#: Characters that mean something else in master files; unescaped in a name they are nearly always a mistake.
_SPECIAL = {" ": r"\032", '"': r"\"", ";": r"\;", "(": r"\(", ")": r"\)", "@": r"\@"}


def zone_name(text: str) -> Name:
    """The zone that `text` names; its final dot may be missing. Raises `InvalidName`."""
    if not isinstance(text, str):
        raise InvalidName(f"a name is text, not {type(text).__name__}")
    return _zone_name(text)


@functools.lru_cache(maxsize=4096)  # many changes are of the same zone
def _zone_name(text: str) -> Name:
    labels, _ = _parse(text)
    if not labels:
        raise InvalidName("the root zone can't be managed here; name a zone such as example.org.")
    if b"*" in labels:
        raise InvalidName(f"{shown(text)}: a zone's name can't contain a wildcard")
    return _assembled(labels, text)


def record_name(text: str, zone: Name) -> Name:
    """The absolute name of a record that `text` names in `zone`.

    `@` is the apex; without a final dot it is relative to the zone, with it absolute. A dotless name that
    ends in the zone's own name is refused as ambiguous. Raises `InvalidName`.
    """
    if text == "@":
        return zone
    if text == "":
        raise InvalidName(f"the record's name is empty: write @ for {zone} itself")
    if isinstance(text, str) and text.endswith("." + zone) and is_canonical(text):
        return Name(text)
    if isinstance(text, str) and is_canonical(whole := f"{text}.{zone}") and not _ends_in(text, zone):
        return Name(whole)
    labels, is_absolute = _parse(text)
    if is_absolute:
        name = _assembled(labels, text)
        if not is_within(name, zone):
            raise InvalidName(f"{shown(name)} is not in the zone {zone}")
        return name
    zone_labels = list(split_labels(zone))
    if labels[-len(zone_labels) :] == zone_labels:
        whole = shown(_text(labels))
        short = shown(".".join(_label_text(label) for label in labels[: -len(zone_labels)]) or "@")
        raise InvalidName(
            f"{shown(text)} is ambiguous: it ends in the zone's name but not in a dot; "
            f"write {whole} (or {short}) if it is that name, else {whole}{zone}"
        )
    return _assembled(labels + zone_labels, text)


def _ends_in(text: str, zone: Name) -> bool:
    """Whether a text without a final dot ends in the name of the zone."""
    return f".{text}.".endswith(f".{zone}")


def absolute_name(text: str) -> Name:
    """`text`, which must end in a dot, as a `Name`. Raises `InvalidName`."""
    if isinstance(text, str) and is_canonical(text):
        return Name(text)
    labels, is_absolute = _parse(text)
    if not is_absolute:
        raise InvalidName(f"{shown(text)} must end in a dot: write {shown(text)}.")
    return _assembled(labels, text)


def name_in_file(text: str, origin: Name) -> Name:
    """What `text` means in a zone file: `@` is the origin, and a missing final dot means relative to it.

    Raises `InvalidName`.
    """
    if text == "@":
        return origin
    if is_canonical(text):
        return Name(text)
    if "\\" not in text and is_canonical(joined := f"{text}.{origin}"):
        return Name(joined)
    labels, is_absolute = _parse(text)
    return _assembled(labels if is_absolute else [*labels, *split_labels(origin)], text)


def is_within(name: Name, zone: Name) -> bool:
    """Whether `name` is `zone` or lies below it."""
    if name == zone or zone == ROOT:
        return True
    if not name.endswith("." + zone):
        return False
    # In foo\.example.org. the dot before "example.org." belongs to the label: an odd number of
    # backslashes stands before it.
    above = name[: -len(zone) - 1]
    return (len(above) - len(above.rstrip("\\"))) % 2 == 0


def ancestors(name: Name, zone: Name) -> list[Name]:
    """The names above `name`, nearest first, ending with `zone` itself. Empty for the apex."""
    if not is_within(name, zone):
        raise InvalidName(f"{name} is not in the zone {zone}")
    found: list[Name] = []
    while name != zone:
        name = parent(name)
        found.append(name)
    return found


def parent(name: Name) -> Name:
    """`name` without its first label; the root for a top-level name. The root has none: `InvalidName`."""
    if name == ROOT:
        raise InvalidName("the root has no parent")
    if "\\" not in name:
        return Name(name[name.index(".") + 1 :] or ".")
    return _text(split_labels(name)[1:])


def wildcard_below(name: Name) -> Name:
    """`*.` + name."""
    return Name("*." if name == ROOT else "*." + name)


def below(label: bytes, name: Name) -> Name:
    """`label`, any octets, in front of `name`. Raises `InvalidName` where that is too long."""
    if not 0 < len(label) <= MAX_LABEL_OCTETS:
        raise InvalidName(f"a label has {len(label)} octets; it needs 1 to {MAX_LABEL_OCTETS}")
    size = wire_size(name) + 1 + len(label)
    if size > MAX_NAME_OCTETS:
        raise InvalidName(f"the name has {size} octets, and {MAX_NAME_OCTETS} is the limit")
    return _text([label.lower(), *split_labels(name)])


def sort_key(name: Name) -> str:
    """A text that sorts names so that each is followed by everything below it (for database columns).

    It is the labels from the root down, each followed by a blank: `org example www `. A label's own
    blanks are escaped, so `key(a).startswith(key(b))` holds exactly when `a` is `b` or below it.
    """
    if "\\" not in name:
        return " ".join(name.split(".")[::-1])[1:] + " " if name != ROOT else ""
    return "".join([_label_text(label) + " " for label in reversed(split_labels(name))])


def split_labels(name: Name) -> tuple[bytes, ...]:
    """The labels of `name` as octets, from the first to the top-level one, without the root's empty one."""
    if "\\" not in name:
        return tuple(name.encode("ascii").split(b".")[:-1]) if name != ROOT else ()
    return tuple(_parse(name)[0])


def wire_size(name: Name) -> int:
    """The octets of `name` in wire format, uncompressed."""
    if "\\" not in name:
        return len(name) + 1 if name != ROOT else 1
    return sum(len(label) + 1 for label in split_labels(name)) + 1


def to_dnspython(name: Name) -> dns.name.Name:
    """`name` as a dnspython name."""
    return dns.name.Name((*split_labels(name), b""))


def from_dnspython(name: dns.name.Name) -> Name:
    """An absolute dnspython name as a `Name`, not judged: a server may hold what users may not type."""
    labels = name.labels
    assert labels[-1:] == (b"",), "names from a server are absolute"
    return _text([label.lower() for label in labels[:-1]])


def is_canonical(text: str) -> bool:
    """Whether `text` is a `Name` as it stands; False also for the few that need a closer look (escapes)."""
    return 0 < len(text) < MAX_NAME_OCTETS and _CANONICAL.fullmatch(text) is not None


def _parse(text: str) -> tuple[list[bytes], bool]:
    """The labels that `text` writes, lower case, and whether it ends in a dot."""
    if not isinstance(text, str):
        raise InvalidName(f"a name is text, not {type(text).__name__}")
    if text == "":
        raise InvalidName("the name is empty")
    if text == ".":
        return [], True
    if len(text) > LONGEST_TEXT:
        raise InvalidName(f"{shown(text)}: {len(text):,} characters are more than a name can have")
    if not text.isascii():
        text = text.translate(_IDEOGRAPHIC_DOTS)
    written = _split_at_dots(text)
    is_absolute = written[-1] == ""
    if is_absolute:
        written.pop()
    if "" in written:
        raise InvalidName(f"{shown(text)} has an empty label: two dots in a row, or one at the start")
    return [_octets(label, text) for label in written], is_absolute


def _split_at_dots(text: str) -> list[str]:
    if "\\" not in text:
        return text.split(".")
    labels = [""]
    position = 0
    while position < len(text):
        element = _ELEMENT.match(text, position)
        if element is None:
            raise InvalidName(
                f"{shown(text)}: a backslash is followed by three digits from 000 to 255, "
                "or by a character that is no digit"
            )
        if element["plain"] == ".":
            labels.append("")
        else:
            labels[-1] += element[0]
        position = element.end()
    return labels


def _octets(label: str, text: str) -> bytes:
    if _TYPED_LABEL.fullmatch(label):
        return label.lower().encode("ascii")
    if not label.isascii():
        return _a_label(label, text)
    octets = bytearray()
    for element in _ELEMENT.finditer(label):
        if element["octet"]:
            value = int(element["octet"])
            if value > 255:
                raise InvalidName(f"{shown(text)}: \\{value} is no octet; they go from \\000 to \\255")
            octets.append(value)
        elif element["quoted"]:
            octets += _printable(element["quoted"], text)
        else:
            character = element["plain"]
            if character in _SPECIAL:
                raise InvalidName(
                    f"{shown(text)}: {character!r} can't stand in a name as it is; "
                    f"if it is meant, write {_SPECIAL[character]}"
                )
            octets += _printable(character, text)
    return bytes(octets).lower()


def _printable(character: str, text: str) -> bytes:
    if ord(character) < 0x20 or ord(character) == 0x7F:
        raise InvalidName(f"{shown(text)} contains a control character: write it as \\{ord(character):03d}")
    return character.encode("ascii")


def _a_label(label: str, text: str) -> bytes:
    """A Unicode label as IDNA 2008 encodes it (RFC 5891), after the mapping of UTS 46 (case, width, …)."""
    if "\\" in label:
        raise InvalidName(f"{shown(text)}: a label has either escapes or Unicode, not both")
    try:
        return idna.alabel(idna.uts46_remap(label, std3_rules=False)).lower()
    except idna.IDNAError as exc:
        raise InvalidName(
            f"{shown(text)}: {shown(label)} is not allowed by IDNA 2008 ({exc}); "
            "if the name exists all the same, write its A-label (xn--…)"
        ) from exc


def _assembled(labels: Sequence[bytes], text: str) -> Name:
    """The labels as a `Name`, judged: lengths and wildcards."""
    for position, label in enumerate(labels):
        if len(label) > MAX_LABEL_OCTETS:
            raise InvalidName(
                f"{shown(text)}: a label has {len(label)} octets, and {MAX_LABEL_OCTETS} is the limit"
            )
        if b"*" in label and (label != b"*" or position > 0):
            raise InvalidName(
                f"{shown(text)}: a * stands only alone and as the first label, like *.example.org."
            )
    size = sum(len(label) + 1 for label in labels) + 1
    if size > MAX_NAME_OCTETS:
        raise InvalidName(f"{shown(text)}: the name has {size} octets, and {MAX_NAME_OCTETS} is the limit")
    return _text(labels)


def _text(labels: Iterable[bytes]) -> Name:
    return Name("".join([_label_text(label) + "." for label in labels]) or ".")


def _label_text(label: bytes) -> str:
    if _PLAIN_LABEL.fullmatch(label):
        return label.decode("ascii")
    return "".join(
        "\\" + chr(octet)
        if octet in _ESCAPED_OCTETS
        else chr(octet)
        if 0x20 < octet < 0x7F
        else f"\\{octet:03d}"
        for octet in label
    )


def shown(text: object) -> str:
    """`text` fit for a message: on one line, not endless."""
    printable = "".join(char if char.isprintable() else f"\\{ord(char):03d}" for char in str(text)[:200])
    return printable if len(printable) <= 80 else printable[:77] + "…"
