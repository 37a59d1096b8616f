"""A kept TCP connection to a nameserver, signed with one TSIG key (RFC 8945), and what can go wrong on it.

Shared by the backends that speak DNS to their target. What an answer means (a prerequisite that failed, a
zone that isn't there) is decided in `dns_update` and `dns_transfer`.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig

from backends.dns_wire import Message
from dnsworker.errors import AuthenticationFailed, OutcomeUnknown, ServerFailure, Unreachable, Unsupported

MAX_MESSAGE_BYTES = 65535  # RFC 1035, section 4.2.2
#: What header, zone section, a complete SOA prerequisite, the SOA at the end and the TSIG take at most: two
#: owner names and six in rdata of 255 octets, their fixed parts, a key name and a SHA-512.
OVERHEAD_BYTES = 4096


class TsigKey:
    """A name, a secret and an algorithm. Its repr shows no secret."""

    def __init__(self, name: str, secret_base64: str, algorithm: str) -> None:
        self.key = dns.tsig.Key(dns.name.from_text(name), secret_base64, dns.name.from_text(algorithm))
        self.ring = {self.key.name: self.key}

    def __repr__(self) -> str:
        return f"TsigKey({self.name})"

    @property
    def name(self) -> str:
        return self.key.name.to_text(omit_final_dot=True)


class DNSConnection:
    """One kept TCP connection; opened when first needed. Not for two threads at once."""

    def __init__(self, host: str, port: int, key: TsigKey, *, timeout_s: float) -> None:
        self.host = host
        self.port = port
        self.key = key
        self.timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"DNSConnection({self.host}:{self.port})"

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, query: dns.message.Message) -> dns.message.Message:
        """The answer to something that changes nothing. Raises `Unreachable` when there is none."""
        return self._request(query, changes_something=False)

    def send_update(self, update: dns.message.Message) -> dns.message.Message:
        """The answer to something that can be sent twice without harm, but may have been carried out unseen.

        Raises `OutcomeUnknown` when it was sent and no answer came.
        """
        return self._request(update, changes_something=True)

    def stream(self, query: dns.message.Message) -> Iterator[bytes]:
        """The messages that answer a zone transfer, one after the other, their signatures verified.

        Give up the generator as soon as the transfer is complete. When it is given up earlier, the rest
        stays unread: then `close` the connection.
        """
        wire = self._sign(query)
        self._send(wire, is_resend=False)
        assert query.mac is not None
        verifier = _StreamVerifier(self.key, query.mac)
        unproven: list[bytes] = []
        while True:
            try:
                message = self._receive()
            except _LOST as exc:
                self.close()
                raise Unreachable(f"the transfer from {self} broke off: {_words(exc)}") from exc
            unproven.append(message)
            if verifier.covers(message, self):
                yield from unproven
                unproven.clear()

    def _request(self, request: dns.message.Message, *, changes_something: bool) -> dns.message.Message:
        wire = self._sign(request)
        was_kept = self._socket is not None
        for is_resend in (False, True):
            self._send(wire, is_resend=is_resend)
            try:
                answer = self._receive()
            except _LOST as exc:
                self.close()
                # A server that closes a kept connection just as we send hasn't read the request, as a rule;
                # where it has, the fence of an update makes the second one harmless.
                if was_kept and not is_resend and not isinstance(exc, TimeoutError):
                    continue
                if changes_something:
                    raise OutcomeUnknown(
                        f"{self} was sent an update and did not answer: {_words(exc)}"
                    ) from exc
                raise Unreachable(f"{self} did not answer: {_words(exc)}") from exc
            return self._parse(answer, request)
        raise AssertionError("the second round returns or raises")

    def _sign(self, request: dns.message.Message) -> bytes:
        request.use_tsig(self.key.ring, self.key.key.name)
        try:
            return request.to_wire(max_size=MAX_MESSAGE_BYTES)
        except dns.exception.TooBig as exc:
            raise Unsupported("the request doesn't fit into one DNS message of 65,535 bytes") from exc

    def _send(self, wire: bytes, *, is_resend: bool) -> None:
        if self._socket is not None and not is_resend and _is_readable(self._socket):
            self.close()  # the server has ended an idle connection; nothing else may be unread
        for is_last in (False, True):
            is_new = self._socket is None
            try:
                if self._socket is None:
                    self._socket = socket.create_connection((self.host, self.port), self.timeout_s)
                    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.settimeout(self.timeout_s)
                # An update that was sent in part is not carried out: the server waits for all its octets.
                self._socket.sendall(struct.pack(">H", len(wire)) + wire)
            except OSError as exc:
                self.close()
                if is_new or is_last:
                    raise Unreachable(f"no nameserver at {self.host}:{self.port}: {_words(exc)}") from exc
                continue
            return

    def _receive(self) -> bytes:
        """The next message; the whole of it within the time-out."""
        deadline = time.monotonic() + self.timeout_s
        (length,) = struct.unpack(">H", self._receive_octets(2, deadline))
        return self._receive_octets(length, deadline)

    def _receive_octets(self, size: int, deadline: float) -> bytes:
        if self._socket is None:
            raise EOFError
        received = bytearray()
        while len(received) < size:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining_s)
            part = self._socket.recv(size - len(received))
            if not part:
                raise EOFError
            received += part
        return bytes(received)

    def _parse(self, wire: bytes, request: dns.message.Message) -> dns.message.Message:
        with tsig_errors(self):
            try:
                answer = dns.message.from_wire(wire, keyring=self.key.ring, request_mac=request.mac)
            except (dns.exception.FormError, dns.exception.SyntaxError) as exc:
                self.close()
                raise ServerFailure(f"{self} sent an answer that can't be read: {exc}") from exc
        if answer.id != request.id:
            self.close()
            raise ServerFailure(f"{self} answered another question")
        if not answer.had_tsig and answer.rcode() in (
            dns.rcode.NOERROR,
            dns.rcode.NXRRSET,
            dns.rcode.NXDOMAIN,
        ):
            self.close()
            raise AuthenticationFailed(f"{self} sent an unsigned answer to a signed request")
        return answer


class _StreamVerifier:
    """Checks the signatures of a transfer; one may cover several messages (RFC 8945, section 5.3.1)."""

    def __init__(self, key: TsigKey, request_mac: bytes) -> None:
        self._key = key
        self._mac = request_mac
        self._context: Any = None

    def covers(self, wire: bytes, connection: DNSConnection) -> bool:
        """Whether all messages up to this one are now known to be the server's.

        An unsigned refusal passes: whoever reads the records says what it means.
        """
        with tsig_errors(connection):
            try:
                tsig = Message(wire).tsig()
                if tsig is not None:
                    start, owner, data = tsig
                    now = int(time.time())
                    self._context = dns.tsig.validate(  # type: ignore[no-untyped-call]
                        wire, self._key.key, owner, data, now, self._mac, start, self._context, True
                    )
                    return True
            except dns.exception.FormError as exc:
                connection.close()
                raise ServerFailure(f"{connection} sent an answer that can't be read: {exc}") from exc
            if self._context is not None:
                self._context.update(wire)
                return False
            if wire[3] & 15 == dns.rcode.NOERROR:
                connection.close()
                raise AuthenticationFailed(f"{connection} sent an unsigned answer to a signed request")
            return True


@contextmanager
def tsig_errors(connection: DNSConnection) -> Iterator[None]:
    """Says in words which part of the authentication failed."""
    where = f"{connection.host}:{connection.port}"
    name = connection.key.name
    try:
        yield
    except dns.tsig.PeerBadKey as exc:
        _refuse(
            connection,
            f"{where} doesn't know the TSIG key {name!r}: compare name and algorithm (BADKEY)",
            exc,
        )
    except dns.tsig.PeerBadSignature as exc:
        _refuse(connection, f"{where} has another secret for the TSIG key {name!r} (BADSIG)", exc)
    except dns.tsig.PeerBadTime as exc:
        _refuse(connection, f"{where} has another time than this machine: compare the clocks (BADTIME)", exc)
    except (dns.tsig.BadTime, dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadAlgorithm) as exc:
        _refuse(connection, f"the answer of {where} is not signed rightly with the TSIG key {name!r}", exc)
    except (dns.tsig.PeerError, dns.message.UnknownTSIGKey) as exc:
        _refuse(connection, f"{where} refuses the TSIG key {name!r}: {exc}", exc)


def _refuse(connection: DNSConnection, message: str, exc: Exception) -> NoReturn:
    connection.close()
    raise AuthenticationFailed(message) from exc


#: No answer where one was due. A TimeoutError is an OSError.
_LOST = (EOFError, OSError)


def _words(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, EOFError):
        return "it closed the connection"
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def _is_readable(connection: socket.socket) -> bool:
    """Whether something lies in wait on an idle connection: its end, as a rule."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
