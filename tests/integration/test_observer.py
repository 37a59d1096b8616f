"""Asking real servers: our own nameserver, a BIND, and some that misbehave."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import dns.tsig
import pytest

from dev.servers import Bind
from dev.servers.ports import claim_port, release_port
from dnsworker.answers import answer
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.nameserver import NameServer
from dnsworker.observer import NameserverAddress, Observed, Observer, agrees, is_gone
from dnsworker.records import SOA, RRset

#: Seconds: what a client that hangs would take at least, and a busy machine never takes.
HANG_S = 15.0

ZONE = Name("observed.test.")
CHILD = Name("child.observed.test.")
HOST = Name("www.observed.test.")
TIMEOUT_S = 0.5


def contents(zone: Name, *rrsets: RRset) -> ZoneContents:
    apex = RRset(zone, "NS", 300, ["ns1.elsewhere.test."])
    return ZoneContents.of(zone, SOA(Name("ns1.elsewhere.test."), Name(f"h.{zone}"), 42), [apex, *rrsets])


HELD = contents(
    ZONE,
    RRset(HOST, "A", 300, ["192.0.2.1", "192.0.2.2"]),
    RRset(f"big.{ZONE}", "TXT", 300, [f'"{number} {"x" * 200}"' for number in range(20)]),
    RRset(f"alias.{ZONE}", "CNAME", 300, [HOST]),
    RRset(f"cut.{ZONE}", "NS", 300, [f"ns.cut.{ZONE}"]),
    RRset(f"ns.cut.{ZONE}", "A", 300, ["192.0.2.3"]),
    RRset(f"*.wild.{ZONE}", "MX", 300, ["10 mail.elsewhere.test."]),
    RRset(f"dn.{ZONE}", "DNAME", 300, ["elsewhere.test."]),
)


class Source:
    def find(self, qname: Name) -> ZoneContents | None:
        return HELD if qname == ZONE or qname.endswith(f".{ZONE}") else None

    def contents(self, zone: Name) -> ZoneContents | None:
        return HELD if zone == ZONE else None


@pytest.fixture(scope="module")
def nameserver() -> Iterator[NameserverAddress]:
    with NameServer(Source(), port=0) as server:
        yield NameserverAddress("127.0.0.1", server.port)


def ask(server: NameserverAddress, qname: str, qtype: str, timeout_s: float = TIMEOUT_S) -> Observed:
    async def once() -> Observed:
        return await Observer().ask(server, Name(qname), qtype, timeout_s)

    return asyncio.run(once())


_numbers = itertools.count(1)

Handler = Callable[[bytes], list[bytes]]


@contextmanager
def misbehaving(handler: Handler) -> Iterator[NameserverAddress]:
    """A UDP server that sends what `handler` makes of each query."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(0.05)
        is_over = threading.Event()

        def serve() -> None:
            while not is_over.is_set():
                try:
                    octets, asker = udp.recvfrom(65535)
                except TimeoutError:
                    continue
                for reply in handler(octets):
                    udp.sendto(reply, asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield NameserverAddress("127.0.0.1", udp.getsockname()[1])
        finally:
            is_over.set()
            thread.join()


def reply(octets: bytes, *, rcode: str = "NOERROR", flags: int = 0, answers: bool = True) -> bytes:
    """An answer to a query of www.observed.test. A."""
    response = dns.message.make_response(dns.message.from_wire(octets))
    response.flags |= dns.flags.AA | flags
    response.set_rcode(dns.rcode.from_text(rcode))
    if answers:
        response.answer.append(dns.rrset.from_text(HOST, 300, "IN", "A", "192.0.2.2", "192.0.2.1"))
    return response.to_wire()


@pytest.mark.parametrize(
    ("name", "qtype"),
    [
        (ZONE, "NS"),
        (HOST, "A"),
        (HOST, "AAAA"),
        (HOST, "ANY"),
        (f"nothing.{ZONE}", "A"),
        (f"big.{ZONE}", "TXT"),
        (f"alias.{ZONE}", "A"),
        (f"alias.{ZONE}", "CNAME"),
        (f"cut.{ZONE}", "NS"),
        (f"ns.cut.{ZONE}", "A"),
        (f"x.wild.{ZONE}", "MX"),
        (f"x.dn.{ZONE}", "A"),
        (ZONE, "SOA"),
    ],
)
def test_our_own_nameserver_answers_as_expected(nameserver: NameserverAddress, name: str, qtype: str) -> None:
    observed = ask(nameserver, name, qtype)
    assert agrees(observed, answer(HELD, Name(name), qtype), qtype) is True, observed
    assert observed.rtt_s > 0


def test_the_serial_is_read(nameserver: NameserverAddress) -> None:
    observed = ask(nameserver, ZONE, "SOA")
    assert (observed.serial, observed.authoritative, observed.soa_owner) == (42, True, ZONE)
    assert is_gone(observed, ZONE) is False


def test_a_server_without_the_zone_says_that_it_is_gone(nameserver: NameserverAddress) -> None:
    assert is_gone(ask(nameserver, "elsewhere.test.", "SOA"), Name("elsewhere.test.")) is True


def test_silence_is_unknown(nameserver: NameserverAddress) -> None:
    with misbehaving(lambda _: []) as server:
        observed = ask(server, HOST, "A")
    assert (observed.kind, observed.error) == ("unknown", "no answer within 0.5 s")
    assert is_gone(observed, ZONE) is None
    assert agrees(observed, answer(HELD, HOST, "A"), "A") is None


def test_a_closed_port_is_unknown_at_once() -> None:
    port = claim_port()
    started = time.monotonic()
    observed = ask(NameserverAddress("127.0.0.1", port), HOST, "A", timeout_s=20)
    release_port(port)
    assert observed.kind == "unknown"
    assert "refused" in str(observed.error)
    assert time.monotonic() - started < HANG_S


@pytest.mark.parametrize("rcode", ["SERVFAIL", "FORMERR", "NOTIMP"])
def test_an_error_of_the_server_is_unknown(rcode: str) -> None:
    with misbehaving(lambda query: [reply(query, rcode=rcode, answers=False)]) as server:
        observed = ask(server, HOST, "A")
    assert (observed.kind, observed.rcode, observed.error) == ("unknown", rcode, f"answers {rcode}")


def with_wrong_id(query: bytes) -> bytes:
    right = reply(query)
    return bytes([right[0] ^ 1]) + right[1:]


def with_wrong_question(query: bytes) -> bytes:
    asked = dns.message.from_wire(query)
    other = dns.message.make_query("other.test.", "A", id=asked.id)
    return reply(other.to_wire())


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "wrong id": with_wrong_id,
    "wrong question": with_wrong_question,
    "garbage": lambda _: os.urandom(60),
    "garbage after the right id": lambda query: query[:2] + os.urandom(60),
    "the query itself": lambda query: query,
    "cut off": lambda query: reply(query)[:-3],
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_answer_is_passed_over(kind: str) -> None:
    wrong = WRONG[kind]
    with misbehaving(lambda query: [wrong(query)]) as server:
        assert ask(server, HOST, "A").kind == "unknown"
    with misbehaving(lambda query: [wrong(query), reply(query)]) as server:
        observed = ask(server, HOST, "A")
    assert agrees(observed, answer(HELD, HOST, "A"), "A") is True


def test_a_lost_datagram_is_sent_again() -> None:
    seen: list[bytes] = []

    def lose_first(query: bytes) -> list[bytes]:
        seen.append(query)
        return [reply(query)] if len(seen) > 1 else []

    with misbehaving(lose_first) as server:
        assert ask(server, HOST, "A", timeout_s=2).kind == "answer"
    assert seen[0] == seen[1]


def test_a_truncated_answer_without_tcp_is_unknown() -> None:
    with misbehaving(lambda query: [reply(query, flags=dns.flags.TC, answers=False)]) as server:
        assert ask(server, HOST, "A").kind == "unknown"


def test_many_questions_at_once_are_all_answered(nameserver: NameserverAddress) -> None:
    async def many() -> list[Observed]:
        observer = Observer()
        return await asyncio.gather(*(observer.ask(nameserver, HOST, "A", 5) for _ in range(1000)))

    expected = answer(HELD, HOST, "A")
    assert all(agrees(observed, expected, "A") for observed in asyncio.run(many()))


def test_a_nameserver_may_be_given_by_name(nameserver: NameserverAddress) -> None:
    assert ask(NameserverAddress("localhost", nameserver.port), ZONE, "SOA", 2).serial == 42
    unknown = ask(NameserverAddress("no-such-host.invalid", 53), ZONE, "SOA", 2)
    assert unknown.kind == "unknown"


def test_a_wrong_key_is_unknown_and_not_absence(nameserver: NameserverAddress) -> None:
    key = dns.tsig.Key("nobody-knows", b"secret", "hmac-sha256")
    observed = ask(NameserverAddress(nameserver.host, nameserver.port, key), ZONE, "SOA")
    assert (observed.kind, observed.error) == ("unknown", "does not accept our key (PeerBadKey)")
    assert "secret" not in repr(NameserverAddress("192.0.2.1", 53, key))


def test_an_unsigned_answer_to_a_signed_question_does_not_count() -> None:
    key = dns.tsig.Key("ours", b"secret", "hmac-sha256")

    def unsigned(octets: bytes) -> list[bytes]:
        query = dns.message.from_wire(octets, keyring={key.name: key})
        response = dns.message.make_response(query)
        response.tsig = None
        return [response.to_wire()]

    with misbehaving(unsigned) as server:
        assert ask(NameserverAddress(server.host, server.port, key), HOST, "A").kind == "unknown"


# --- BIND -----------------------------------------------------------------------------------------------


def add_zone(bind: Bind, zone: str, records: str = "", extra: str = "") -> Path:
    # A file of its own: that of a zone of the same name is removed some time after `delzone -clean`.
    path = bind.folder / f"{zone}{next(_numbers)}"
    path.write_text(
        f"$TTL 300\n@ SOA ns1.elsewhere.test. h 42 3600 600 86400 300\n@ NS ns1.elsewhere.test.\n{records}"
    )
    bind.rndc("addzone", zone, f'{{ type primary; file "{path}"; check-names ignore; {extra} }};')
    return path


def test_bind_signs_its_answers_to_signed_questions(bind: Bind) -> None:
    add_zone(bind, "signed.observer.test.", extra=f"allow-query {{ key {bind.key_name}; }};")
    key = dns.tsig.Key(bind.key_name, bind.key_secret, "hmac-sha256")
    zone = Name("signed.observer.test.")
    assert ask(NameserverAddress(bind.address, bind.port, key), zone, "SOA").serial == 42
    assert ask(NameserverAddress(bind.address, bind.port), zone, "SOA").rcode == "REFUSED"
    wrong = dns.tsig.Key(bind.key_name, b"another", "hmac-sha256")
    assert ask(NameserverAddress(bind.address, bind.port, wrong), zone, "SOA").kind == "unknown"


PARENTS = {
    "no-parent": None,
    "plain": "",
    "delegating": "child NS ns1.elsewhere.test.",
    "wildcard": "* TXT wild",
    "wildcard-alias": "* CNAME www\nwww A 192.0.2.1",
    "alias": "child CNAME www\nwww A 192.0.2.1",
    "alias-out": "child CNAME www.elsewhere.test.",
    "data": "child TXT here",
    "below": "x.child TXT here",
}


@pytest.mark.parametrize("kind", PARENTS)
def test_a_zone_that_bind_deleted_is_gone_whatever_the_parent_says(bind: Bind, kind: str) -> None:
    server = NameserverAddress(bind.address, bind.port)
    parent, records = f"{kind}.observer.test.", PARENTS[kind]
    zone = Name(f"child.{parent}")
    if records is not None:
        add_zone(bind, parent, records)
    add_zone(bind, zone)
    assert is_gone(ask(server, zone, "SOA"), zone) is False
    bind.rndc("delzone", "-clean", zone)
    assert is_gone(ask(server, zone, "SOA"), zone) is True


def test_a_zone_that_failed_to_load_is_not_gone(bind: Bind) -> None:
    zone = Name("broken.observer.test.")
    add_zone(bind, zone).write_text("this is no zone file\n")
    bind.stop()
    bind.start()
    observed = ask(NameserverAddress(bind.address, bind.port), zone, "SOA")
    assert (observed.rcode, is_gone(observed, zone)) == ("SERVFAIL", None)
    bind.rndc("delzone", "-clean", zone)


def test_a_delegation_is_right_even_where_the_server_has_the_child_as_well(bind: Bind) -> None:
    server = NameserverAddress(bind.address, bind.port)
    parent, child = Name("both.observer.test."), Name("sub.both.observer.test.")
    add_zone(bind, parent, f"sub NS ns.{child}\nns.sub A 192.0.2.9\n")
    cut = RRset(child, "NS", 300, [f"ns.{child}"])
    glue = RRset(f"ns.{child}", "A", 300, ["192.0.2.9"])
    held = contents(parent, cut, glue)
    questions = [(child, "NS"), (glue.name, "A"), (glue.name, "AAAA"), (child, "TXT")]

    def verdicts() -> list[Any]:
        return [agrees(ask(server, *one), answer(held, *one), one[1]) for one in questions]

    assert verdicts() == [True] * 4
    add_zone(bind, child, "ns A 192.0.2.9\n")
    assert verdicts() == [True] * 4
    bind.rndc("delzone", "-clean", child)
    bind.rndc("delzone", "-clean", parent)
    add_zone(bind, parent, "ns.sub A 192.0.2.9\n")
    assert verdicts() == [False] * 4
