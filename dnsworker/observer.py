"""Asking nameservers, and what their answers say.

Time-outs, SERVFAIL and garbage mean "don't know": never "absent", never "done".
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig

from dnsworker import names
from dnsworker.answers import Answer
from dnsworker.comparison import SIGNER_TYPES
from dnsworker.errors import DNSWorkerError
from dnsworker.names import Name
from dnsworker.records import SOA, RRset

EDNS_PAYLOAD = 1232
#: Codes with which a server speaks about the zone; any other means that it can't tell.
TELLING = ("NOERROR", "NXDOMAIN", "REFUSED", "NOTAUTH", "YXDOMAIN")


@dataclass(frozen=True, slots=True)
class NameserverAddress:
    """Where a nameserver is asked, and the key to sign with."""

    host: str
    port: int = 53
    tsig_key: dns.tsig.Key | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Observed:
    """One answer, or why there is none."""

    kind: Literal["answer", "unknown"]
    rcode: str = ""
    authoritative: bool = False
    #: Of the SOA in the answer section.
    serial: int | None = None
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    #: Owner of the SOA in the answer or authority section: the zone that the server speaks for.
    soa_owner: Name | None = None
    error: str | None = None
    rtt_s: float = 0.0


class Observer:
    """Asks over UDP, over TCP where the answer is truncated. For one asyncio loop."""

    async def ask(self, server: NameserverAddress, qname: Name, qtype: str, timeout_s: float) -> Observed:
        """One question. Never raises for what the network or the server does."""
        started = time.monotonic()
        try:
            query = dns.message.make_query(
                names.to_dnspython(qname), qtype, use_edns=0, payload=EDNS_PAYLOAD, flags=0
            )
            if server.tsig_key is not None:
                query.use_tsig(server.tsig_key)
            response = await self._exchange(query, server, timeout_s)
            observed = read_response(response)
        except dns.exception.Timeout:
            return _unknown(f"no answer within {timeout_s:g} s")
        except (dns.exception.DNSException, DNSWorkerError, OSError, EOFError, ValueError) as exc:
            words = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            return _unknown(f"{type(exc).__name__}: {words}" if words else type(exc).__name__)
        return Observed(
            observed.kind, observed.rcode, observed.authoritative, observed.serial, observed.answer,
            observed.authority, observed.soa_owner, observed.error, time.monotonic() - started,
        )  # fmt: skip

    async def close(self) -> None:
        """Nothing is kept open between questions."""

    @staticmethod
    async def _exchange(
        query: dns.message.Message, server: NameserverAddress, timeout_s: float
    ) -> dns.message.Message:
        response, _ = await dns.asyncquery.udp_with_fallback(
            query, server.host, timeout=timeout_s, port=server.port,
            ignore_unexpected=True, ignore_errors=True,
        )  # fmt: skip
        return response


def read_response(response: dns.message.Message) -> Observed:
    """What a response says, in our own values."""
    rcode = dns.rcode.to_text(response.rcode())
    if rcode not in TELLING:
        return _unknown(f"answers {rcode}", rcode)
    serial: int | None = None
    owner: Name | None = None
    sections: list[list[RRset]] = [[], []]
    for section, found in zip((response.answer, response.authority), sections, strict=True):
        for rrset in section:
            if rrset.rdtype == dns.rdatatype.SOA:
                owner = names.from_dnspython(rrset.name)
                if section is response.answer:
                    serial = SOA.from_rdataset(rrset).serial
                continue
            found.append(RRset.from_rdataset(rrset.name, rrset))
    return Observed(
        "answer",
        rcode,
        bool(response.flags & dns.flags.AA),
        serial,
        tuple(sections[0]),
        tuple(sections[1]),
        owner,
    )


def is_gone(observed: Observed, zone: Name) -> bool | None:
    """Whether a nameserver no longer serves a zone, by its answer to the zone's SOA; None: can't tell.

    A server that was asked and speaks without authority for the zone hasn't got it: it refuses, refers
    elsewhere, or answers for a zone above.
    """
    if observed.kind != "answer":
        return None
    if observed.rcode in ("REFUSED", "NOTAUTH"):
        return True
    if observed.authoritative:
        return observed.soa_owner != zone
    return None if observed.soa_owner == zone else True


def agrees(observed: Observed, expected: Answer, qtype: str) -> bool:
    """Whether a nameserver answered what the zone must give.

    Sets of records with their TTLs are compared, in any order; the signer's records are passed over.
    """
    if observed.kind != "answer":
        return False
    if expected.is_referral:
        return not observed.authoritative and _same(observed.authority, expected.authority, only="NS")
    if observed.rcode != expected.rcode or observed.authoritative != expected.authoritative:
        return False
    if qtype == "ANY":
        return True  # RFC 8482: a server need not give everything
    chain_leaves = expected.answer and not any(_type(one) == qtype for one in expected.answer)
    if chain_leaves:
        # A server may follow the chain into other zones that it serves: ours must be what it starts with.
        wanted = _records(expected.answer)
        return wanted <= _records(observed.answer)
    if qtype == "SOA":
        return observed.serial is not None
    return _same(observed.answer, expected.answer)


def _same(observed: tuple[RRset, ...], expected: tuple[RRset | SOA, ...], only: str | None = None) -> bool:
    return _records(observed, only) == _records(expected, only)


def _records(
    rrsets: tuple[RRset, ...] | tuple[RRset | SOA, ...], only: str | None = None
) -> set[tuple[Name, str, int, str]]:
    return {
        (one.name, one.type, one.ttl, value)
        for one in rrsets
        if isinstance(one, RRset) and one.type not in SIGNER_TYPES and only in (None, one.type)
        for value in one.data
    }


def _type(one: RRset | SOA) -> str:
    return one.type if isinstance(one, RRset) else "SOA"


def _unknown(error: str, rcode: str = "") -> Observed:
    return Observed("unknown", rcode, error=error)
