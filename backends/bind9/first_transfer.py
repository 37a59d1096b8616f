"""The worker as a primary for one zone and one moment: from here named fetches the contents of a new zone.

Separate because it is the only thing here that listens. `rndc addzone` wants a primary zone's file to be
there already and can't write one, but named writes the file of a *secondary* zone itself.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import struct
from collections.abc import Callable, Iterator

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from backends.dns_tsig import TsigKey
from dnsworker import names
from dnsworker.contents import ZoneContents
from dnsworker.errors import Busy
from dnsworker.records import RRset
from dnsworker.wire import IN, encode, name_octets

#: Records in one message at most; a record as long as one can be fits in beside header and signature or not
#: at all.
BATCH_BYTES = 32_000
#: No client gets longer than this for its next octet; there is only one thread.
CLIENT_TIMEOUT_S = 5.0

_HEADER = struct.Struct(">HHHHHH")
_AUTHORITATIVE = int(dns.flags.QR | dns.flags.AA)


class FirstTransfer:
    """Answers SOA and AXFR for one zone to whoever holds the key. A context manager: sockets end with it."""

    def __init__(
        self, contents: ZoneContents, key: TsigKey, host: str, port: int, checkpoint: Callable[[], None]
    ) -> None:
        """`host` is an address of this machine; `port` 0: any that is free.

        `checkpoint` is called between the messages of a transfer.

        Raises `Busy` when the port can't be had.
        """
        self._contents = contents
        self._apex = names.to_dnspython(contents.name)
        self._soa = dns.rrset.from_rdata_list(self._apex, contents.soa.ttl, list(contents.soa.to_rdataset()))
        self._question = name_octets(contents.name) + struct.pack(">HH", dns.rdatatype.AXFR, IN)
        self._key = key
        self._checkpoint = checkpoint
        self._selector = selectors.DefaultSelector()
        #: A whole transfer has been sent.
        self.is_served = False
        try:
            self._tcp, self._udp = _listen(host, port)
        except OSError as exc:
            self._selector.close()
            raise Busy(f"can't listen at {host} port {port} for named to fetch the zone: {exc}") from exc
        self.port: int = self._tcp.getsockname()[1]
        self._selector.register(self._tcp, selectors.EVENT_READ)
        self._selector.register(self._udp, selectors.EVENT_READ)

    def __enter__(self) -> FirstTransfer:
        return self

    def __exit__(self, *_: object) -> None:
        for entry in list(self._selector.get_map().values()):
            assert isinstance(entry.fileobj, socket.socket)
            entry.fileobj.close()
        self._selector.close()

    def serve(self, wait_s: float) -> bool:
        """Answer what comes within `wait_s`. Whether anything came."""
        events = self._selector.select(wait_s)
        for entry, _ in events:
            connection = entry.fileobj
            assert isinstance(connection, socket.socket)
            # A client that hangs up or talks nonsense is no reason to give up on named.
            with contextlib.suppress(OSError, dns.exception.DNSException):
                if connection is self._udp:
                    wire, client = connection.recvfrom(65535)
                    connection.sendto(self._answer_datagram(wire), client)
                    continue
                if connection is self._tcp:
                    client_connection, _ = connection.accept()
                    client_connection.settimeout(CLIENT_TIMEOUT_S)
                    self._selector.register(client_connection, selectors.EVENT_READ)
                    continue
                if self._answer_stream(connection):
                    continue
            if connection not in (self._tcp, self._udp):
                self._selector.unregister(connection)
                connection.close()
        return bool(events)

    def _answer_datagram(self, wire: bytes) -> bytes:
        query = dns.message.from_wire(wire, keyring=self._key.ring)
        if not self._may_have(query):
            return _refusal(query).to_wire()
        response = _response(query)
        response.answer.append(self._soa)
        return response.to_wire()

    def _answer_stream(self, connection: socket.socket) -> bool:
        """Answer the next request on a connection; whether there may be more."""
        prefix = _receive(connection, 2)
        if prefix is None:
            return False
        wire = _receive(connection, int.from_bytes(prefix, "big"))
        if wire is None:
            return False
        query = dns.message.from_wire(wire, keyring=self._key.ring)
        if not self._may_have(query):
            _send(connection, _refusal(query).to_wire())
            return False
        if query.question[0].rdtype != dns.rdatatype.AXFR:
            response = _response(query)
            response.answer.append(self._soa)
            _send(connection, response.to_wire())
            return True
        assert query.mac is not None
        context = None
        for count, records in self._batches():
            self._checkpoint()
            wire = _HEADER.pack(query.id, _AUTHORITATIVE, 1, count, 0, 0) + self._question + records
            signed, _, context = self._key.sign(wire, request_mac=query.mac, context=context, is_part=True)
            _send(connection, signed)
        self.is_served = True
        return True

    def _may_have(self, query: dns.message.Message) -> bool:
        return (
            query.had_tsig
            and len(query.question) == 1
            and query.question[0].name == self._apex
            and query.question[0].rdtype in (dns.rdatatype.SOA, dns.rdatatype.AXFR)
        )

    def _batches(self) -> Iterator[tuple[int, bytes]]:
        """The zone as an AXFR has it, between two SOAs: per message how many records, and their octets."""
        contents = self._contents
        soa = RRset.trusted(contents.name, "SOA", contents.soa.ttl, (contents.soa.rdata,))
        batch: list[bytes] = []
        size = 0
        for rrset in itertools.chain([soa], contents.rrsets.values(), [soa]):
            for record in encode(rrset):
                if batch and size + len(record) > BATCH_BYTES:
                    yield len(batch), b"".join(batch)
                    batch, size = [], 0
                batch.append(record)
                size += len(record)
        yield len(batch), b"".join(batch)


def _listen(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on one port: a secondary asks for the SOA over UDP and for the zone over TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for is_last in (False, False, False, False, True):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            udp.bind((host, tcp.getsockname()[1]))
            tcp.listen(16)
        except OSError:
            tcp.close()
            udp.close()
            if is_last or port:  # a free TCP port may be taken for UDP
                raise
            continue
        return tcp, udp
    raise AssertionError("the last round returns or raises")


def _response(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    return response


def _refusal(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.REFUSED)
    return response


def _send(connection: socket.socket, wire: bytes) -> None:
    connection.sendall(struct.pack(">H", len(wire)) + wire)


def _receive(connection: socket.socket, size: int) -> bytes | None:
    """Exactly `size` octets; None at the end of the connection."""
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            return None
        received += part
    return bytes(received)
