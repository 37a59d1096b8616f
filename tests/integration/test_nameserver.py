"""The sockets of the built-in nameserver: what strangers may do to it, and what it keeps doing meanwhile."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.xfr
import dns.zone
import pytest

from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.nameserver import NameServer
from dnsworker.records import SOA, RRset

ZONE = Name("served.test.")
HOSTS = 3_000
SERIAL = 2_000
WAIT_S = 10.0


class Source:
    """One zone; what a database can do to us, on demand."""

    def __init__(self) -> None:
        apex = RRset(ZONE, "NS", 300, [f"ns1.{ZONE}"])
        hosts = [RRset(f"h{number}.{ZONE}", "TXT", 300, [f'"{number}"']) for number in range(HOSTS)]
        many = RRset(f"many.{ZONE}", "A", 300, [f"192.0.{n // 250}.{n % 250}" for n in range(3000)])
        soa = SOA(Name(f"ns1.{ZONE}"), Name(f"h.{ZONE}"), SERIAL)
        self.zone = ZoneContents.of(ZONE, soa, [apex, many, *hosts])
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def find(self, qname: Name) -> ZoneContents | None:
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return self.zone if qname == ZONE or qname.endswith(f".{ZONE}") else None

    def contents(self, zone: Name) -> ZoneContents | None:
        return self.zone if zone == ZONE else None


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.gate.set()


@pytest.fixture
def server(source: Source) -> Iterator[NameServer]:
    with NameServer(source, port=0, idle_timeout_s=1.0, max_connections=5) as server:
        yield server


def query(name: str = f"h1.{ZONE}", qtype: str = "TXT") -> dns.message.Message:
    return dns.message.make_query(name, qtype)


def ask(server: NameServer, transport: str = "udp", name: str = f"h1.{ZONE}", qtype: str = "TXT") -> str:
    """The response code."""
    send = dns.query.udp if transport == "udp" else dns.query.tcp
    return dns.rcode.to_text(send(query(name, qtype), server.host, port=server.port, timeout=WAIT_S).rcode())


def connect(server: NameServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=WAIT_S)


def framed(octets: bytes) -> bytes:
    return struct.pack("!H", len(octets)) + octets


def receive(stream: socket.socket, sent: bytes = b"") -> dns.message.Message:
    """The next response, after something was sent."""
    if sent:
        stream.sendall(sent)

    def exactly(size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            chunk = stream.recv(size - len(octets))
            if not chunk:
                raise EOFError
            octets += chunk
        return octets

    return dns.message.from_wire(exactly(struct.unpack("!H", exactly(2))[0]))


def is_closed(stream: socket.socket) -> bool:
    """Whether the server closes the connection before `WAIT_S` are over."""
    try:
        return stream.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_garbage_does_not_stop_it(server: NameServer, transport: str) -> None:
    if transport == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for size in range(0, 600, 3):
                udp.sendto(os.urandom(size), (server.host, server.port))
    else:
        for size in (0, 1, 12, 100, 5000):
            with connect(server) as stream:
                stream.sendall(framed(os.urandom(size)))
                stream.shutdown(socket.SHUT_WR)
                while stream.recv(4096):
                    pass
    assert ask(server, transport) == "NOERROR"


def test_questions_on_one_connection_are_all_answered(server: NameServer) -> None:
    asked = [query(f"h{number}.{ZONE}") for number in range(100)]
    for number, one in enumerate(asked):
        one.id = number  # of a hundred drawn by lot two are the same, one time in fourteen
    with connect(server) as stream:
        stream.sendall(b"".join(framed(one.to_wire()) for one in asked))
        found = {(response := receive(stream)).id: response for _ in asked}
    for one in asked:
        assert found[one.id].answer[0].name == one.question[0].name


def test_a_half_closed_connection_gets_its_answers(server: NameServer) -> None:
    with connect(server) as stream:
        stream.sendall(framed(query().to_wire()) * 3)
        stream.shutdown(socket.SHUT_WR)
        assert [receive(stream).rcode() for _ in range(3)] == [0, 0, 0]
        assert is_closed(stream)


@pytest.mark.parametrize("sent", [b"", b"\0", framed(b"x" * 100)[:50]])
def test_a_silent_connection_is_closed(server: NameServer, sent: bytes) -> None:
    with connect(server) as stream:
        stream.sendall(sent)
        assert is_closed(stream)


def test_connections_are_bounded_and_come_free_again(server: NameServer) -> None:
    held = [connect(server) for _ in range(5)]
    try:
        for stream in held:
            stream.sendall(framed(query().to_wire()))
            receive(stream)
        with connect(server) as one_more, pytest.raises((EOFError, OSError)):
            receive(one_more, framed(query().to_wire()))
        assert ask(server) == "NOERROR"
    finally:
        for stream in held:
            stream.close()
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            assert ask(server, "tcp") == "NOERROR"
            break
        except (OSError, EOFError):
            assert time.monotonic() < deadline


def test_a_reader_that_does_not_read_is_cut_off(server: NameServer) -> None:
    with socket.socket() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stream.settimeout(WAIT_S)
        stream.connect((server.host, server.port))
        asked = framed(query(f"many.{ZONE}", "A").to_wire())
        assert _is_cut_off(stream, asked * 50)
    assert ask(server, "tcp") == "NOERROR"


def _is_cut_off(stream: socket.socket, octets: bytes) -> bool:
    """Whether the server resets the connection that is written to and never read."""
    deadline = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < deadline:
            stream.sendall(octets)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_source_that_fails_is_servfail_and_one_line(
    server: NameServer, source: Source, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    source.error = RuntimeError("the database is away\nwith many lines")
    with caplog.at_level(logging.INFO):
        assert [ask(server, transport) for _ in range(3)] == ["SERVFAIL"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"can't answer h1.{ZONE} TXT: RuntimeError: the database is away"
    ]
    source.error = None
    assert ask(server, transport) == "NOERROR"


def test_a_source_that_blocks_delays_only_who_waits_for_it(server: NameServer, source: Source) -> None:
    source.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, server, "tcp") for _ in range(3)]
        # What needs no source is answered meanwhile.
        unknown_class = dns.message.make_query("version.bind.", "TXT", rdclass="CH")
        answered = dns.query.udp(unknown_class, server.host, port=server.port, timeout=WAIT_S)
        assert answered.rcode() == dns.rcode.REFUSED
        source.gate.set()
        assert [one.result() for one in waiting] == ["NOERROR"] * 3


def test_a_zone_is_transferred_in_several_messages(server: NameServer, source: Source) -> None:
    messages = list(dns.query.xfr(server.host, ZONE, port=server.port, timeout=WAIT_S, relativize=False))
    assert len(messages) > 3
    zone = dns.zone.from_xfr(messages, relativize=False)
    found = {
        rrset.key
        for name, rdataset in zone.iterate_rdatasets()
        if (rrset := RRset.from_rdataset(name, rdataset)).type != "SOA"
        if source.zone.rrsets[rrset.key] == rrset
    }
    assert found == set(source.zone.rrsets)


@pytest.mark.parametrize(("known", "records"), [(SERIAL, 1), (SERIAL + 1, 1), (SERIAL - 1, HOSTS + 3001 + 2)])
def test_an_incremental_transfer_is_the_whole_zone_or_nothing(
    server: NameServer, known: int, records: int
) -> None:
    asked = query(ZONE, "IXFR")
    asked.authority.append(dns.rrset.from_text(ZONE, 0, "IN", "SOA", f". . {known} 0 0 0 0"))
    with connect(server) as stream:
        stream.sendall(framed(asked.to_wire()))
        count = 0
        while count < records:
            response = receive(stream)
            count += sum(len(rrset) for rrset in response.answer) if records == 1 else _records_in(response)
    assert count == records


def _records_in(response: dns.message.Message) -> int:
    """How many records the answer section holds; dnspython merges those of one name."""
    return int(struct.unpack_from("!H", response.wire or b"", 6)[0])


def test_whole_zones_are_for_known_networks_only(source: Source) -> None:
    with NameServer(source, port=0, transfer_to=["192.0.2.0/24"]) as server:
        for qtype in ("AXFR", "IXFR"):
            assert ask(server, "tcp", ZONE, qtype) == "REFUSED"
        assert ask(server, "tcp") == "NOERROR"


def test_a_zone_that_is_not_there_is_not_transferred(server: NameServer) -> None:
    assert ask(server, "tcp", "elsewhere.test.", "AXFR") == "NOTAUTH"
    assert ask(server, "tcp", f"below.{ZONE}", "AXFR") == "NOTAUTH"


def test_a_port_in_use_is_said_at_start(server: NameServer, source: Source) -> None:
    with pytest.raises(OSError, match="in use"):
        NameServer(source, port=server.port).start()
    assert ask(server) == "NOERROR"


def test_it_stops_with_open_connections_and_starts_again_on_its_port(source: Source) -> None:
    first = NameServer(source, port=0).start()
    with connect(first) as stream:
        stream.sendall(framed(query().to_wire()))
        receive(stream)
        first.stop()
        first.stop()
        assert is_closed(stream)
    with NameServer(source, port=first.port) as second:
        assert (ask(second), ask(second, "tcp")) == ("NOERROR", "NOERROR")


def test_it_listens_on_ipv6_as_well(source: Source) -> None:
    with NameServer(source, host="::1", port=0) as server:
        assert (ask(server), ask(server, "tcp"), ask(server, "tcp", ZONE, "AXFR")) == ("NOERROR",) * 3
