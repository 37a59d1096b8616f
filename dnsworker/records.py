"""RRsets and SOAs as immutable values, normalised and validated when they are made.

The same code runs in the submitting service, in the worker and in the backends, so what a client could
construct no worker refuses for its form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dnsworker.names import Name

if TYPE_CHECKING:
    import dns.rdataset

MAX_TTL = 2**31 - 1  # RFC 2181, section 8

Key = tuple[Name, str]  # (owner name, type): what identifies an RRset within a zone


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
        raise NotImplementedError

    @classmethod
    def trusted(cls, name: Name, type: str, ttl: int, data: tuple[str, ...]) -> RRset:
        """An RRset from values that were normalised before (rows of the database): no checks."""
        raise NotImplementedError

    @classmethod
    def from_rdataset(cls, name: str, rdataset: dns.rdataset.Rdataset) -> RRset:
        """An RRset as a server sent it: canonical, but not judged (a server may hold what we refuse)."""
        raise NotImplementedError

    def to_rdataset(self) -> dns.rdataset.Rdataset:
        """The same for dnspython."""
        raise NotImplementedError

    @property
    def key(self) -> Key:
        return (self.name, self.type)

    def to_json(self) -> dict[str, Any]:
        """`{"name", "type", "ttl", "data"}`."""
        raise NotImplementedError


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
