"""Asking a nameserver until it serves a change, as a resolver would see it."""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Self

import dns.message

from dev.servers import Bind, PowerDNS

#: Between two questions: short beside what is measured, and it leaves the processor to the others.
POLL_S = 0.002
#: A datagram may get lost.
ANSWER_S = 0.5
SERVED_WITHIN_S = 30.0
#: Where the number of answers stands in a message.
ANSWERS_AT = slice(6, 8)


class NotServed(Exception):
    """A change wasn't served for so long that no ratio need be taken."""


class Resolver:
    """Asks one nameserver over one socket."""

    def __init__(self, server: Bind | PowerDNS) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect((server.address, server.port))

    def wait_until_served(self, zone: str, address: str, pause_s: float = POLL_S) -> None:
        """Until `www` in the zone has this IPv6 address, asked with such pauses. Raises `NotServed`."""
        question = dns.message.make_query(f"www.{zone}", "AAAA").to_wire()
        # Nothing else in an answer looks like it, so no answer need be parsed.
        octets = socket.inet_pton(socket.AF_INET6, address)
        deadline = time.monotonic() + SERVED_WITHIN_S
        while octets not in self._ask(question):
            if time.monotonic() > deadline:
                raise NotServed(f"a change of {zone} wasn't served within {SERVED_WITHIN_S:g} s")
            time.sleep(pause_s)

    def wait_until_there(self, zone: str) -> None:
        """Until the zone's SOA is answered, asked without pause. Raises `NotServed`."""
        deadline = time.monotonic() + SERVED_WITHIN_S
        while not self.has(zone):
            if time.monotonic() > deadline:
                raise NotServed(f"{zone} wasn't served within {SERVED_WITHIN_S:g} s")

    def has(self, zone: str, type_: str = "SOA") -> bool:
        """Whether the zone's SOA is answered, or a record of another type there."""
        question = dns.message.make_query(zone, type_).to_wire()
        answer = self._ask(question)
        return bool(answer) and answer[ANSWERS_AT] != b"\x00\x00"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _ask(self, question: bytes) -> bytes:
        try:
            self._socket.send(question)
            # Of a server that was busy, late answers to earlier questions come first.
            while (answer := self._socket.recv(65535))[:2] != question[:2]:
                pass
            return answer
        except (TimeoutError, ConnectionRefusedError):
            return b""
