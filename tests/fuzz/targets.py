"""What outsiders can send us, each as a function of octets that must come to an end and raise nothing.

A refusal of ours is an answer; anything else that is raised is a finding. What is accepted must also survive
a second reading: `canonical` isn't canonical if it changes.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name

from backends.knot.control import CommandFailed, ControlSocket, Session
from dnsworker import names
from dnsworker import wire as dns_wire
from dnsworker.consumer import reason_to_refuse, tidy
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    DNSWorkerError,
    InvalidName,
    InvalidRecord,
    InvalidRequest,
    InvalidZoneFile,
    ServerFailure,
)
from dnsworker.names import Name
from dnsworker.nameserver import questions
from dnsworker.observer import _matching
from dnsworker.queues import ASKABLE, SUBMITTABLE
from dnsworker.records import SOA, RRset
from dnsworker.requests.kinds import parse_request
from dnsworker.requests.questions import QUERIES, parse_query
from dnsworker.requests.request import PREFIX
from dnsworker.zonefile import parse_zone, zone_text
from tests.samples import SAMPLES

ZONE = Name("example.org.")
TYPES = (*SAMPLES, "TYPE65280", "SOA", "RRSIG", "ANY")
TASKS = sorted({*SUBMITTABLE, *ASKABLE})
SERVED = ZoneContents.of(
    ZONE,
    SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7),
    [
        RRset(ZONE, "NS", 60, ["ns1.example.net.", "ns2.example.org."]),
        RRset(f"ns2.{ZONE}", "A", 60, ["192.0.2.53"]),
        RRset(f"*.wild.{ZONE}", "TXT", 60, ['"w"']),
        RRset(f"alias.{ZONE}", "CNAME", 60, [f"ns2.{ZONE}"]),
        RRset(f"tree.{ZONE}", "DNAME", 60, [f"wild.{ZONE}"]),
        RRset(f"cut.{ZONE}", "NS", 60, [f"ns.cut.{ZONE}"]),
        RRset(f"ns.cut.{ZONE}", "AAAA", 60, ["2001:db8::53"]),
        RRset(f"big.{ZONE}", "TXT", 60, [f'"{n:03d}{"x" * 200}"' for n in range(40)]),
    ],
)


def _text(octets: bytes) -> str:
    """What is no UTF-8 becomes lone surrogates, which JSON can carry."""
    return octets.decode("utf-8", "surrogateescape")


def _check_line(error: DNSWorkerError) -> None:
    assert "\n" not in error.message, "a refusal of several lines"


def envelope(octets: bytes) -> None:
    """A message in `dns.intake` or `dns.query`: the first octet names the task, the rest is the body."""
    task = TASKS[octets[0] % len(TASKS)] if octets else "dnsworker.put_record"
    message = _Message(task, octets[1:])
    if reason_to_refuse(message) is not None:
        return
    tidy(message)
    kind, (_, arguments, _) = task.removeprefix(PREFIX), message.payload
    try:
        if kind in QUERIES:
            parse_query(kind, arguments)
            return
        request = parse_request(kind, arguments)
    except InvalidRequest as exc:
        _check_line(exc)
        return
    assert "\n" not in request.summary()
    again = parse_request(kind, json.loads(json.dumps(request.payload())))
    assert again.digest() == request.digest(), "a stored operation reads as another"


class _Message:
    """As much of kombu's message as is looked at."""

    content_type = "application/json"
    delivery_info = {"exchange": "dns.submit"}  # noqa: RUF012 - never written to

    def __init__(self, task: str, body: bytes) -> None:
        self.headers: dict[str, Any] = {"task": task, "id": "0194-fuzz"}
        self._body = body

    @property
    def payload(self) -> Any:
        return json.loads(self._body.decode())


def name(octets: bytes) -> None:
    """Zone names and record names as users type them."""
    text = _text(octets)
    for read in (names.zone_name, lambda value: names.record_name(value, ZONE)):
        try:
            found = read(text)
        except InvalidName as exc:
            _check_line(exc)
            continue
        parsed = dns.name.from_text(found)
        assert len(parsed.to_wire()) <= 255
        assert read(found) == found, "a canonical name reads as another"
        assert names.sort_key(found) is not None


def rdata(octets: bytes) -> None:
    """Record data in presentation format: the first octet names the type, a NUL parts the records."""
    type_ = TYPES[octets[0] % len(TYPES)] if octets else "A"
    data = _text(octets[1:]).split("\0")
    try:
        rrset = RRset(f"_1._tcp.{ZONE}", type_, 60, data)
    except (InvalidRecord, InvalidName) as exc:
        _check_line(exc)
        return
    assert all("\n" not in value for value in rrset.data)
    assert RRset(rrset.name, rrset.type, 60, rrset.data) == rrset, "canonical data reads as other data"
    assert len(dns_wire.encode(rrset)) == len(rrset.data) == len(rrset.to_rdataset())


def zonefile(octets: bytes) -> None:
    """Zone files, as `import_zone` gets them."""
    try:
        parsed = parse_zone(_text(octets), ZONE, 3600)
    except InvalidZoneFile:
        return
    contents = ZoneContents.of(ZONE, parsed.soa or SERVED.soa, parsed.rrsets)
    again = parse_zone(zone_text(contents), ZONE, 3600)
    assert ZoneContents.of(ZONE, again.soa or SERVED.soa, again.rrsets) == contents, (
        "written, it reads as another"
    )


def query(octets: bytes) -> None:
    """What arrives at the built-in nameserver, over UDP and TCP."""
    found = questions.read(octets)
    if not isinstance(found, questions.Query):
        assert found is None or found[:2] == octets[:2]
        return
    answers = [questions.over_udp(found, _Source())]
    assert len(answers[0]) <= max(512, found.payload)
    answers += questions.over_tcp(found, _Source(), "127.0.0.1", [ip_network("127.0.0.0/8")])
    for wire in answers:
        assert wire[:2] == octets[:2]
        assert len(wire) < 65536
        response = dns.message.from_wire(wire, one_rr_per_rrset=True)
        assert response.flags & dns.flags.QR


class _Source:
    def find(self, qname: Name) -> ZoneContents | None:
        return SERVED if names.is_within(qname, ZONE) else None

    def contents(self, zone: Name) -> ZoneContents | None:
        return SERVED if zone == ZONE else None


def answer(octets: bytes) -> None:
    """What a nameserver, or somebody in its place, answers to our questions and transfers."""
    asked = dns.message.make_query(ZONE, "SOA", id=0)
    _matching(octets, asked)
    try:
        message = dns_wire.Message(octets)
        message.tsig()
        list(message.records())
    except (dns.exception.DNSException, DNSWorkerError):
        return


def knot(octets: bytes) -> None:
    """What answers at Knot's control socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(octets[:65536])
        theirs.shutdown(socket.SHUT_WR)
        session = Session(ours, ControlSocket("/run/knot/knot.sock", timeout_s=5.0))
        try:
            for _ in range(3):
                session._answer()
        except (CommandFailed, ServerFailure, EOFError):
            return


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (envelope, name, rdata, zonefile, query, answer, knot)
}

if __name__ == "__main__":
    print(*TARGETS)
