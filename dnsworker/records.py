"""RRsets and SOAs as immutable values, normalised and validated when they are made.

The same code runs in the submitting service, in the worker and in the backends, so what a client could
construct no worker refuses for its form. What may stand beside what in a zone is in `placement`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import dns.exception
import dns.name
import dns.rdataset
import dns.rdatatype

from dnsworker import names, rdata
from dnsworker.errors import InvalidName, InvalidRecord
from dnsworker.names import Name, shown
from dnsworker.rdata_form import check_form

MAX_TTL = 2**31 - 1  # RFC 2181, section 8

Key = tuple[Name, str]  # (owner name, type): what identifies an RRset within a zone

_set = object.__setattr__
#: The part of an address before the @, as RFC 5321 writes it without quotes.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


@dataclass(frozen=True, slots=True, init=False)
class RRset:
    """All records of one name and type (class IN).

    `data` holds presentation-format rdata, canonical (RFC 4034, section 6.2), without duplicates and in
    canonical order (section 6.3), so equal RRsets are equal values.
    """

    name: Name
    type: str
    ttl: int
    data: tuple[str, ...]

    def __init__(self, name: str, type: str, ttl: int, data: list[str] | tuple[str, ...]) -> None:
        """Validates and normalises. `name` is absolute. Raises `InvalidRecord` or `InvalidName`."""
        owner = names.absolute_name(name)
        kind = rdata.checked_type(type)
        _set(self, "name", owner)
        _set(self, "type", kind)
        _set(self, "ttl", _checked_ttl(owner, kind, ttl))
        _set(self, "data", rdata.canonical_data(owner, kind, data))

    @classmethod
    def trusted(cls, name: Name, type: str, ttl: int, data: tuple[str, ...]) -> RRset:
        """An RRset from values that were normalised before (rows of the database): no checks."""
        rrset = object.__new__(cls)
        _set(rrset, "name", name)
        _set(rrset, "type", type)
        _set(rrset, "ttl", ttl)
        _set(rrset, "data", data)
        return rrset

    @classmethod
    def from_rdataset(cls, name: str | dns.name.Name, rdataset: dns.rdataset.Rdataset) -> RRset:
        """An RRset as a server sent it: canonical, but not judged (a server may hold what we refuse)."""
        parsed = dns.name.from_text(name) if isinstance(name, str) else name
        return cls.trusted(
            names.from_dnspython(parsed),
            dns.rdatatype.to_text(rdataset.rdtype),
            rdataset.ttl,
            rdata.canonical_texts(rdataset),
        )

    @staticmethod
    def checked_type(text: str) -> str:
        """A type's usual spelling (`A`, `TYPE65280`), for a type users may write. Raises `InvalidRecord`."""
        return rdata.checked_type(text)

    def to_rdataset(self) -> dns.rdataset.Rdataset:
        """The same for dnspython."""
        return _rdataset(self.type, self.ttl, self.data)

    @property
    def key(self) -> Key:
        return (self.name, self.type)

    def to_json(self) -> dict[str, Any]:
        """`{"name", "type", "ttl", "data"}`."""
        return {"name": self.name, "type": self.type, "ttl": self.ttl, "data": list(self.data)}

    def __repr__(self) -> str:
        texts = [text if len(text) <= 60 else text[:57] + "…" for text in self.data[:3]]
        more = f", … {len(self.data) - 3} more" if len(self.data) > 3 else ""
        return f"RRset({self.name} {self.ttl} {self.type} [{', '.join(texts)}{more}])"


#: SOA data in canonical form, with names of short plain labels that can't be too long.
_PLAIN_SOA = re.compile(
    r"((?:[a-z0-9_-]{1,63}\.){1,3}) ((?:[a-z0-9_-]{1,63}\.){1,3})" + r" ([0-9]{1,10})" * 5, re.ASCII
)


@dataclass(frozen=True, slots=True)
class SOA:
    """A zone's start of authority (RFC 1035, section 3.3.13). Times in seconds; `serial` 0 … 2³² - 1."""

    mname: Name
    rname: Name
    serial: int
    refresh: int = 3600
    retry: int = 600
    expire: int = 86400
    minimum: int = 3600
    ttl: int = 3600

    @classmethod
    def from_rdata(cls, text: str, ttl: int, *, origin: Name | None = None) -> SOA:
        """From presentation format; names absolute, unless there is an origin. Raises `InvalidRecord`."""
        if plain := _PLAIN_SOA.fullmatch(text):  # as `rdata` writes nearly all: without dnspython's objects
            serial, refresh, retry, expire, minimum = map(int, plain.group(3, 4, 5, 6, 7))
            if max(serial, refresh, retry, expire, minimum) < 2**31:
                mname, rname = Name(plain[1]), Name(plain[2])
                return cls(mname, rname, serial, refresh, retry, expire, minimum, ttl)
        check_form("SOA", "SOA", text)
        try:
            parsed: Any = rdata.parse("SOA", text, origin)
        except dns.exception.DNSException as exc:
            raise InvalidRecord(f"{shown(text)} is not SOA data ({exc})") from exc
        if not (parsed.mname.is_absolute() and parsed.rname.is_absolute()):
            raise InvalidRecord(f"{shown(text)}: the names in a SOA must end in a dot")
        return cls._of(parsed, ttl)

    @classmethod
    def from_rdataset(cls, rdataset: dns.rdataset.Rdataset) -> SOA:
        """As a server sent it: not judged."""
        return cls._of(rdataset[0], rdataset.ttl)

    @classmethod
    def _of(cls, parsed: Any, ttl: int) -> SOA:
        return cls(
            mname=names.from_dnspython(parsed.mname),
            rname=names.from_dnspython(parsed.rname),
            serial=parsed.serial,
            refresh=parsed.refresh,
            retry=parsed.retry,
            expire=parsed.expire,
            minimum=parsed.minimum,
            ttl=ttl,
        )

    @staticmethod
    def email_to_rname(email: str) -> Name:
        """The mail address as a name (RFC 1035, section 8): dots before the @ are escaped.

        Raises `InvalidRecord`.
        """
        local, at, domain = email.rpartition("@")
        if not at or not _LOCAL_PART.fullmatch(local):
            raise InvalidRecord(f"{shown(email)} is no mail address like hostmaster@example.org")
        try:
            return names.below(local.encode("ascii").lower(), names.zone_name(domain))
        except InvalidName as exc:
            raise InvalidRecord(f"{shown(email)} can't stand in a SOA: {exc}") from exc

    @property
    def email(self) -> str:
        """The mail address that `rname` stands for."""
        labels = names.split_labels(self.rname)
        local = labels[0].decode("ascii", "backslashreplace") if labels else ""
        return f"{local}@{self.rname if not labels else names.parent(self.rname).rstrip('.')}"

    @property
    def rdata(self) -> str:
        """The presentation format, without the TTL."""
        numbers = (self.serial, self.refresh, self.retry, self.expire, self.minimum)
        return " ".join([self.mname, self.rname, *map(str, numbers)])

    def with_serial(self, serial: int) -> SOA:
        return replace(self, serial=serial)

    def to_rdataset(self) -> dns.rdataset.Rdataset:
        """The same for dnspython."""
        return _rdataset("SOA", self.ttl, (self.rdata,))


def _checked_ttl(owner: Name, type_: str, ttl: int) -> int:
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        raise InvalidRecord(f"{owner} {type_}: the TTL is a number of seconds, not {shown(repr(ttl))}")
    if not 0 <= ttl <= MAX_TTL:
        raise InvalidRecord(f"{owner} {type_}: the TTL goes from 0 to {MAX_TTL} seconds, not {ttl}")
    return ttl


def _rdataset(type_: str, ttl: int, data: tuple[str, ...]) -> dns.rdataset.Rdataset:
    rdataset = dns.rdataset.Rdataset(rdata.IN, dns.rdatatype.from_text(type_), ttl=ttl)
    for text in data:
        rdataset.add(rdata.parse(type_, text))
    return rdataset
