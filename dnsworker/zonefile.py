"""Zone files (RFC 1035, section 5): text in, RRsets out, and back.

Read with our own few rules for lines and tokens, because dnspython's reader stops at the first mistake and
takes a character at a time; the records themselves go the way of every other record (`rdata`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import dns.exception
import dns.ttl

from dnsworker import names, rdata
from dnsworker.contents import ZoneContents
from dnsworker.errors import InvalidName, InvalidRecord, InvalidZoneFile
from dnsworker.names import Name, shown
from dnsworker.rdata_rules import TEXT_TYPES
from dnsworker.records import MAX_TTL, SOA, Key, RRset

#: Refusals that are told one by one; a file of the wrong kind would otherwise give a message of megabytes.
MAX_REFUSALS_TOLD = 10

#: What stands together without a blank is one word, like key="value".
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\f]+) | (?P<comment>;.*) | (?P<open>\() | (?P<close>\))
      | (?P<word>(?:[^ \t\r\f\n;()"\\]++ | \\[^\n] | "(?:[^"\\\n]|\\[^\n])*+")++)""",
    re.VERBOSE,
)
#: A line with none of these is its blank-separated words.
_NEEDS_TOKENS = re.compile(r'[;()"\\]|[^\t\r -~]')
_TTL = re.compile(r"[0-9]+(?:[smhdw][0-9]+)*[smhdw]?", re.IGNORECASE)
_MAX_TTL_TEXT = 40  # characters: Python refuses to read numbers of thousands of digits in its own way
_CLASSES = frozenset({"IN", "CH", "HS", "CS", "ANY", "NONE"})
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|(?:[^ "\\]|\\.)+')


@dataclass(frozen=True, slots=True)
class ParsedZone:
    """What a zone file says. `soa` is None where the file has none: then the caller makes one."""

    soa: SOA | None
    rrsets: tuple[RRset, ...]


def parse_zone(text: str, zone: Name, default_ttl: int) -> ParsedZone:
    """The records of a master file: `$ORIGIN`, `$TTL`, relative names, parentheses, comments.

    `default_ttl` (seconds) is for records with neither a TTL, a `$TTL` nor an explicit TTL before them.
    Raises `InvalidZoneFile`, naming lines and reasons; what may stand beside what isn't judged here
    (`placement`).
    """
    reader = _Reader(zone, default_ttl)
    for entry in _entries(text):
        reader.take(entry)
    return reader.finish()


def zone_text(contents: ZoneContents, *, plain_types: Collection[str] | None = None) -> str:
    """The zone as a master file: whole names, one record a line, in canonical order, SOA and NS first.

    Types that aren't among `plain_types` are written as RFC 3597 has them, with the readable form behind as a
    comment, for servers that don't know them. None: every type is plain.
    """
    soa = contents.soa
    lines = [f"{contents.name}\t{soa.ttl}\tIN\tSOA\t{soa.rdata}"]
    order = sorted(
        contents.rrsets.values(),
        key=lambda rrset: (names.split_labels(rrset.name)[::-1], rrset.type != "NS", rrset.type),
    )
    for rrset in order:
        head = f"{rrset.name}\t{rrset.ttl}\tIN\t"
        if plain_types is None or rrset.type in plain_types:
            lines += [f"{head}{rrset.type}\t{text}" for text in rrset.data]
        else:
            generic = rdata.generic_texts(rrset.type, rrset.data)
            has_name = not rrset.type.startswith("TYPE")
            comments = [f"\t; {rrset.type} {text}" if has_name else "" for text in rrset.data]
            lines += [f"{head}{text}{comment}" for text, comment in zip(generic, comments, strict=True)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One logical line: physical ones joined by parentheses."""

    line: int
    tokens: list[str]
    has_owner: bool  # false where the line starts with a blank: the owner is the last one


@dataclass(slots=True)
class _Record:
    line: int
    ttl: int
    text: str
    origin: Name


def _refuse(line: int, reason: str) -> NoReturn:
    raise InvalidZoneFile(f"line {line}: {reason}")


def _entries(text: str) -> Iterator[_Entry]:
    depth = 0
    started = 0
    tokens: list[str] = []
    has_owner = False
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if depth == 0:
            if tokens:
                yield _Entry(started, tokens, has_owner)
            started, has_owner, tokens = number, line[:1] not in (" ", "\t"), []
            if not _NEEDS_TOKENS.search(line):
                tokens = line.split()
                continue
        depth = _tokenise(line, number, depth, tokens)
    if depth:
        _refuse(started, "a parenthesis opened here doesn't close")
    if tokens:
        yield _Entry(started, tokens, has_owner)


def _tokenise(line: str, number: int, depth: int, tokens: list[str]) -> int:
    """Appends the tokens of a line and gives the depth of parentheses at its end."""
    position = 0
    while position < len(line):
        token = _TOKEN.match(line, position)
        if token is None:
            what = "a quote doesn't end" if line[position] == '"' else "the line ends in a backslash"
            _refuse(number, f"{what}: {shown(line[position:])}")
        position = token.end()
        if word := token["word"]:
            tokens.append(word)
        elif token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
            if depth < 0:
                _refuse(number, "a parenthesis closes that was never opened")
    return depth


@dataclass(slots=True)
class _Reader:
    zone: Name
    default_ttl: int
    origin: Name = field(init=False)
    directive_ttl: int | None = None
    last_ttl: int | None = None
    owner: Name | None = None
    soa: SOA | None = None
    records: dict[Key, list[_Record]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.origin = self.zone

    def take(self, entry: _Entry) -> None:
        try:
            if entry.has_owner and entry.tokens[0].startswith("$"):
                self._directive(entry)
            else:
                self._record(entry)
        except (InvalidName, InvalidRecord) as exc:
            self.refusals.append(f"line {entry.line}: {exc}")

    def finish(self) -> ParsedZone:
        rrsets = []
        for (owner, type_), records in self.records.items():
            try:
                rrsets.append(_rrset(owner, type_, records))
            except InvalidRecord as exc:
                self.refusals.append(f"line {_guilty(owner, type_, records)}: {exc}")
        if self.refusals:
            told = "; ".join(self.refusals[:MAX_REFUSALS_TOLD])
            more = len(self.refusals) - MAX_REFUSALS_TOLD
            raise InvalidZoneFile(told + (f"; and {more} more" if more > 0 else ""))
        return ParsedZone(self.soa, tuple(rrsets))

    def _directive(self, entry: _Entry) -> None:
        word, values = entry.tokens[0].upper(), entry.tokens[1:]
        if word in ("$INCLUDE", "$GENERATE"):
            _refuse(entry.line, f"{word} is not supported: write the records out")
        if word not in ("$ORIGIN", "$TTL"):
            _refuse(entry.line, f"there is no directive {shown(word)}; there are $ORIGIN and $TTL")
        if len(values) != 1:
            _refuse(entry.line, f"{word} takes one value")
        if word == "$ORIGIN":
            self.origin = names.name_in_file(values[0], self.origin)
        else:
            self.directive_ttl = _ttl(values[0], entry.line)

    def _record(self, entry: _Entry) -> None:
        tokens = entry.tokens
        position = 0
        if entry.has_owner:
            self.owner = None  # not the last one's, if this one is refused
            self.owner = names.name_in_file(tokens[0], self.origin)
            position = 1
        owner = self.owner
        if owner is None:
            raise InvalidRecord("the record has no owner name, and none stands before it")
        ttl = None
        while position < len(tokens):
            token = tokens[position]
            if ttl is None and _TTL.fullmatch(token):
                ttl = self.last_ttl = _ttl(token, entry.line)
            elif token.upper() in _CLASSES:
                if token.upper() != "IN":
                    raise InvalidRecord(f"{owner}: class {token.upper()} is not supported, only IN")
            else:
                break
            position += 1
        if position == len(tokens):
            raise InvalidRecord(f"{owner}: the record has no type")
        if ttl is None:
            ttl = next(
                one for one in (self.directive_ttl, self.last_ttl, self.default_ttl) if one is not None
            )
        if not names.is_within(owner, self.zone):
            raise InvalidRecord(f"{owner} is not in the zone {self.zone}")
        type_, text = tokens[position].upper(), " ".join(tokens[position + 1 :])
        if type_ == "SOA":
            self._take_soa(owner, text, ttl)
            return
        type_ = rdata.checked_type(type_)
        record = _Record(entry.line, ttl, _plain(type_, text), self.origin)
        self.records.setdefault((owner, type_), []).append(record)

    def _take_soa(self, owner: Name, text: str, ttl: int) -> None:
        if owner != self.zone:
            raise InvalidRecord(f"{owner} SOA: only the apex {self.zone} has one")
        soa = SOA.from_rdata(text, ttl, origin=self.origin)
        # A zone transfer's output has the SOA at both ends.
        if self.soa not in (None, soa):
            raise InvalidRecord(f"{owner} SOA: there is another one before")
        self.soa = soa


def _ttl(token: str, line: int) -> int:
    if len(token) > _MAX_TTL_TEXT:
        _refuse(line, f"{shown(token)} is no TTL")
    try:
        ttl = dns.ttl.from_text(token)
    except dns.exception.DNSException as exc:
        raise InvalidZoneFile(f"line {line}: {shown(token)} is no TTL") from exc
    if ttl > MAX_TTL:
        _refuse(line, f"the TTL goes from 0 to {MAX_TTL} seconds, not {shown(token)}")
    return ttl


def _plain(type_: str, text: str) -> str:
    """Data as `rdata` wants it: in a file a quoted text may hold a tab, and words are strings each."""
    text = text.replace("\t", "\\009")  # any other control character is refused like everywhere
    if type_ in TEXT_TYPES and not text.startswith("\\#"):
        strings = _STRING.findall(text)
        text = " ".join(one if one.startswith('"') else f'"{one}"' for one in strings)
    return text


def _rrset(owner: Name, type_: str, records: list[_Record]) -> RRset:
    origins = {record.origin for record in records}
    texts = [record.text for record in records]
    if len(origins) == 1:
        data = rdata.canonical_data(owner, type_, texts, origin=origins.pop())
    else:
        whole = [
            rdata.canonical_data(owner, type_, [record.text], origin=record.origin)[0] for record in records
        ]
        data = rdata.canonical_data(owner, type_, whole)
    # Different TTLs in one RRset count as the lowest (RFC 2181, section 5.2).
    return RRset.trusted(owner, type_, min(record.ttl for record in records), data)


def _guilty(owner: Name, type_: str, records: list[_Record]) -> int:
    """The line of the record that is refused; the first where they are refused only together."""
    for record in records:
        try:
            rdata.canonical_data(owner, type_, [record.text], origin=record.origin)
        except InvalidRecord:
            return record.line
    return records[0].line
