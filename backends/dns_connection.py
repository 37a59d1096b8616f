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
from dns.rdtypes.ANY.TSIG import TSIG

from backends.dns_wire import ANY, Message
from dnsworker.errors import AuthenticationFailed, OutcomeUnknown, ServerFailure, Unreachable, Unsupported

MAX_MESSAGE_BYTES = 65535  # RFC 1035, section 4.2.2
FUDGE_S = 300  # RFC 8945, section 10: how far the clocks may be apart

_ID = struct.Struct(">H")
_RECORD = struct.Struct(">HHIH")


class TsigKey:
    """A name, a secret and an algorithm. Its repr shows no secret."""

    def __init__(self, name: str, secret_base64: str, algorithm: str) -> None:
        self.key = dns.tsig.Key(dns.name.from_text(name), secret_base64, dns.name.from_text(algorithm))
        self.ring = {self.key.name: self.key}
        self._owner = self.key.name.to_wire() or b""

    def __repr__(self) -> str:
        return f"TsigKey({self.name})"

    def sign(
        self, wire: bytes, *, request_mac: bytes = b"", context: Any = None, is_part: bool = False
    ) -> tuple[bytes, bytes, Any]:
        """The message with its signature at the end, the MAC, and what the next part of a transfer needs.

        Raises `Unsupported` when the message is too long.
        """
        (message_id,) = _ID.unpack_from(wire)
        (additionals,) = _ID.unpack_from(wire, 10)
        blank = TSIG(  # type: ignore[no-untyped-call]
            ANY, dns.rdatatype.TSIG, self.key.algorithm, 0, FUDGE_S, b"", message_id, 0, b""
        )
        tsig, context = dns.tsig.sign(  # type: ignore[no-untyped-call]
            wire, self.key, blank, int(time.time()), request_mac, context, is_part
        )
        signature = (
            self._owner + _RECORD.pack(dns.rdatatype.TSIG, ANY, 0, len(tsig.to_wire())) + tsig.to_wire()
        )
        signed = wire[:10] + _ID.pack(additionals + 1) + wire[12:] + signature
        if len(signed) > MAX_MESSAGE_BYTES:
            raise Unsupported("the request doesn't fit into one DNS message of 65,535 bytes")
        return signed, tsig.mac, context

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
        query.use_tsig(self.key.ring, self.key.key.name)
        return self._parse(self._request(query.to_wire(), changes_something=False), query)

    def exchange(self, request: bytes, *, changes_something: bool = False) -> Message:
        """The answer to an unsigned `request`, which gets signed here.

        Something that changes something must bear being sent twice. Raises `OutcomeUnknown` when that was
        sent and no answer came, and `Unreachable` otherwise.
        """
        signed, mac, _ = self.key.sign(request)
        wire = self._request(signed, changes_something=changes_something)
        message = _Verifier(self, mac, is_transfer=False).read(wire)
        if message.id != int.from_bytes(request[:2], "big"):
            self.close()
            raise ServerFailure(f"{self} answered another question")
        return message

    def stream(self, request: bytes) -> Iterator[Message]:
        """The messages that answer a zone transfer, one after the other, their signatures verified.

        Give up the generator as soon as the transfer is complete. When it is given up earlier, the rest
        stays unread: then `close` the connection.
        """
        signed, mac, _ = self.key.sign(request)
        self._send(signed, is_resend=False)
        verifier = _Verifier(self, mac)
        unproven: list[Message] = []
        while True:
            try:
                wire = self._receive()
            except _LOST as exc:
                self.close()
                raise Unreachable(f"the transfer from {self} broke off: {_words(exc)}") from exc
            message = verifier.read(wire)
            if message.id != int.from_bytes(request[:2], "big"):
                self.close()
                raise ServerFailure(f"{self} answered another question")
            unproven.append(message)
            if verifier.has_proven:
                yield from unproven
                unproven.clear()

    def _request(self, wire: bytes, *, changes_something: bool) -> bytes:
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
            return answer
        raise AssertionError("the second round returns or raises")

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
        if not answer.had_tsig and answer.rcode() in _BELIEVED_ONLY_SIGNED:
            self.close()
            raise AuthenticationFailed(f"{self} sent an unsigned answer to a signed request")
        return answer


class _Verifier:
    """Checks the signatures of an answer; in a transfer one may cover several messages (RFC 8945, 5.3.1).

    An unsigned refusal passes, since servers that can't read a request don't sign: whoever asked says what
    it means.
    """

    def __init__(self, connection: DNSConnection, request_mac: bytes, *, is_transfer: bool = True) -> None:
        self._connection = connection
        self._mac = request_mac
        self._is_transfer = is_transfer
        self._context: Any = None
        #: All messages up to the last one are now known to be the server's.
        self.has_proven = False

    def read(self, wire: bytes) -> Message:
        """The message. Raises `AuthenticationFailed` and `ServerFailure`."""
        connection = self._connection
        self.has_proven = False
        try:
            message = Message(wire)
            tsig = message.tsig()
            if tsig is not None:
                start, owner, data = tsig
                now = int(time.time())
                with tsig_errors(connection):
                    self._context = dns.tsig.validate(  # type: ignore[no-untyped-call]
                        wire,
                        connection.key.key,
                        owner,
                        data,
                        now,
                        self._mac,
                        start,
                        self._context,
                        self._is_transfer,
                    )
                self.has_proven = True
                return message
        except dns.exception.FormError as exc:
            connection.close()
            raise ServerFailure(f"{connection} sent an answer that can't be read: {exc}") from exc
        if self._context is not None:
            self._context.update(wire)
        elif message.rcode in _BELIEVED_ONLY_SIGNED:
            connection.close()
            raise AuthenticationFailed(f"{connection} sent an unsigned answer to a signed request")
        else:
            self.has_proven = True
        return message


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


_BELIEVED_ONLY_SIGNED = (dns.rcode.NOERROR, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN)
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
