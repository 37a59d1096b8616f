"""A connection to a nameserver that goes by addresses and not by keys: nothing is signed, nothing verified.

Separate from `dns_connection`, where an unsigned answer is never believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dns.exception

from backends.dns_connection import DNSConnection, with_length
from backends.dns_tsig import TsigKey
from dnsworker.errors import BackendError, ServerFailure, Unreachable
from dnsworker.wire import Message

#: For messages that name the key; it signs nothing. The name is NSD's for "no key".
_NO_KEY = TsigKey("NOKEY", "AA==", "hmac-sha256")


class UnsignedConnection(DNSConnection):
    """As `DNSConnection`, without a key."""

    def __init__(
        self, host: str, port: int, *, timeout_s: float, announce: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(host, port, _NO_KEY, timeout_s=timeout_s, announce=announce)

    def exchange(self, request: bytes, *, changes_something: bool = False) -> Message:
        self._announce()
        return self._opened(
            self._answer_to(with_length(request), changes_something=changes_something), request
        )

    def stream(self, request: bytes) -> Iterator[Message]:
        self._announce()
        self._send(with_length(request), is_resend=False)
        while True:
            try:
                wire = self._receive()
            except (EOFError, OSError) as exc:
                self.close()
                words = str(exc) or "it closed the connection"
                raise Unreachable(f"the transfer from {self.address} broke off: {words}") from exc
            yield self._opened(wire, request)

    def _opened(self, wire: bytes, request: bytes) -> Message:
        try:
            try:
                message = Message(wire)
            except dns.exception.FormError as exc:
                raise ServerFailure(f"{self.address} sent an answer that can't be read: {exc}") from exc
            if message.wire[:2] != request[:2]:
                raise ServerFailure(f"{self.address} answered another question")
        except BackendError:
            self.close()
            raise
        return message
