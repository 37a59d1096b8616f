"""A kept TCP connection to a nameserver, signed with one TSIG key, and what can go wrong on it.

Shared by the backends that speak DNS to their target. What an answer means (a prerequisite that failed, a
zone that isn't there) is decided in `dns_update` and `dns_transfer`.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from backends.dns_tsig import TsigKey, Verifier
from dnsworker.errors import BackendError, OutcomeUnknown, ServerFailure, Unreachable
from dnsworker.wire import Message

#: How long the slowest of several requests may take after all the others.
PATIENCE_S = 1.0


class DNSConnection:
    """One kept TCP connection; opened when first needed. Not for two threads at once."""

    def __init__(
        self,
        host: str,
        port: int,
        key: TsigKey,
        *,
        timeout_s: float,
        announce: Callable[[], None] = lambda: None,
        takes_unsigned_absence: bool = False,
    ) -> None:
        """`announce` is called just before each request, and before one is repeated.

        `takes_unsigned_absence`: believe an unsigned NOTAUTH, too. Knot signs none for a zone that it hasn't
        got, whatever the key (3.2.6).
        """
        self.host = host
        self.port = port
        self.key = key
        self.timeout_s = timeout_s
        self._announce = announce
        self._takes_unsigned_absence = takes_unsigned_absence
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"DNSConnection({self.host}:{self.port})"

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return f"{self.host}:{self.port}"

    def exchange(self, request: bytes, *, changes_something: bool = False) -> Message:
        """The answer to an unsigned `request`, which gets signed here.

        Something that changes something must bear being sent twice. Raises `OutcomeUnknown` when that was
        sent and no answer came, and `Unreachable` otherwise.
        """
        self._announce()
        signed, mac, _ = self.key.sign(request)
        wire = self._answer_to(with_length(signed), changes_something=changes_something)
        return self._read(self._verifier(mac, is_transfer=False), wire, request)

    def exchange_all(self, requests: Sequence[bytes]) -> list[Message | BackendError]:
        """The answers to several requests that change something, all of them under way at once.

        Unannounced. In place of an answer stands why there is none, as `exchange` would have raised it. Who
        hasn't answered `PATIENCE_S` after the last one that did isn't waited for: the others shall go on.
        """
        (first,) = struct.unpack_from(">H", secrets.token_bytes(2))
        signed: dict[int, tuple[int, bytes]] = {}
        framed = bytearray()
        for index, request in enumerate(requests):
            message_id = (first + index) & 0xFFFF
            wire, mac, _ = self.key.sign(struct.pack(">H", message_id) + request[2:])
            signed[message_id] = (index, mac)
            framed += with_length(wire)
        answers: list[Message | BackendError] = [
            OutcomeUnknown(f"{self.address} was sent an update and did not answer")
        ] * len(requests)
        try:
            self._send(bytes(framed), is_resend=False, is_one=len(requests) == 1)
            timeout_s = self.timeout_s
            while signed:
                wire = self._receive(timeout_s)
                timeout_s = min(PATIENCE_S, self.timeout_s)
                index, mac = signed.pop(int.from_bytes(wire[:2]), (-1, b""))
                if index < 0:
                    raise ServerFailure(f"{self.address} answered another question")
                answers[index] = self._verifier(mac, is_transfer=False).read(wire)
        except Unreachable as exc:
            return [exc] * len(requests)
        except (*_LOST, BackendError) as exc:
            self.close()
            words = exc.message if isinstance(exc, BackendError) else _words(exc)
            for index, _ in signed.values():
                answers[index] = OutcomeUnknown(
                    f"{self.address} was sent an update and did not answer: {words}"
                )
        return answers

    def stream(self, request: bytes) -> Iterator[Message]:
        """The messages that answer a zone transfer, one after the other, their signatures verified.

        Give up the generator as soon as the transfer is complete. When it is given up earlier, the rest
        stays unread: then `close` the connection.
        """
        self._announce()
        signed, mac, _ = self.key.sign(request)
        self._send(with_length(signed), is_resend=False)
        verifier = self._verifier(mac, is_transfer=True)
        unproven: list[Message] = []
        while True:
            try:
                wire = self._receive()
            except _LOST as exc:
                self.close()
                raise Unreachable(f"the transfer from {self.address} broke off: {_words(exc)}") from exc
            unproven.append(self._read(verifier, wire, request))
            if verifier.has_proven:
                yield from unproven
                unproven.clear()

    def _verifier(self, mac: bytes, *, is_transfer: bool) -> Verifier:
        return Verifier(
            self.key, self.address, mac,
            is_transfer=is_transfer, takes_unsigned_absence=self._takes_unsigned_absence,
        )  # fmt: skip

    def _read(self, verifier: Verifier, wire: bytes, request: bytes) -> Message:
        try:
            message = verifier.read(wire)
            if message.wire[:2] != request[:2]:
                raise ServerFailure(f"{self.address} answered another question")
        except BackendError:
            self.close()
            raise
        return message

    def _answer_to(self, framed: bytes, *, changes_something: bool) -> bytes:
        was_kept = self._socket is not None
        self._send(framed, is_resend=False)
        try:
            try:
                return self._receive()
            except (EOFError, ConnectionError):
                # A server that closes a kept connection just as we send hasn't read the request, as a rule;
                # where it has, the fence of an update makes the second one harmless.
                self.close()
                if not was_kept:
                    raise
                self._announce()
                self._send(framed, is_resend=True)
                return self._receive()
        except (*_LOST, Unreachable) as exc:
            self.close()
            if changes_something:
                raise OutcomeUnknown(
                    f"{self.address} was sent an update and did not answer: {_words(exc)}"
                ) from exc
            raise Unreachable(f"{self.address} did not answer: {_words(exc)}") from exc

    def _send(self, framed: bytes, *, is_resend: bool, is_one: bool = True) -> None:
        """Raises `Unreachable` where nothing of it can be carried out, else `OutcomeUnknown`."""
        was_begun = False
        if self._socket is not None and not is_resend and _is_readable(self._socket):
            self.close()  # the server has ended an idle connection; nothing else may be unread
        for is_last in (False, True):
            is_new = self._socket is None
            try:
                if self._socket is None:
                    self._socket = socket.create_connection((self.host, self.port), self.timeout_s)
                    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.settimeout(self.timeout_s)
                # An update that was sent in part is not carried out: the server waits for all its octets. Of
                # several the first ones may be.
                was_begun = not is_one
                self._socket.sendall(framed)
            except OSError as exc:
                self.close()
                if is_new or is_last:
                    words = f"no nameserver at {self.host}:{self.port}: {_words(exc)}"
                    raise (OutcomeUnknown if was_begun else Unreachable)(words) from exc
                continue
            return

    def _receive(self, timeout_s: float | None = None) -> bytes:
        """The next message; the whole of it within the time-out."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
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


def with_length(wire: bytes) -> bytes:
    """The message as TCP carries it (RFC 1035, section 4.2.2)."""
    return struct.pack(">H", len(wire)) + wire


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
