"""A nameserver whose answers a test decides, over UDP on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Reply = Callable[[dns.message.QueryMessage], dns.message.Message | None]


class StubNameserver:
    """Answers every question with `reply(query)`; None: says nothing."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        while True:
            wire, sender = self._socket.recvfrom(65535)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            assert isinstance(query, dns.message.QueryMessage)
            answer = self.reply(query)
            if answer is not None:
                self._socket.sendto(answer.to_wire(), sender)


def failing(query: dns.message.QueryMessage) -> dns.message.Message:
    """SERVFAIL to everything."""
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response


def showing(serial: int, **addresses: str) -> Reply:
    """A zone example.org with that serial and those addresses by label; NODATA for the rest."""

    def reply(query: dns.message.QueryMessage) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        question = query.question[0]
        name, type_ = question.name.to_text(), question.rdtype.name
        soa = f"ns1.example.net. hostmaster.example.net. {serial} 3600 600 86400 3600"
        if type_ == "SOA":
            response.answer.append(dns.rrset.from_text(name, 3600, "IN", "SOA", soa))
        elif type_ == "NS":
            response.answer.append(dns.rrset.from_text(name, 3600, "IN", "NS", "ns1.example.net."))
        elif type_ == "A" and name.split(".")[0] in addresses:
            response.answer.append(dns.rrset.from_text(name, 3600, "IN", "A", addresses[name.split(".")[0]]))
        else:
            response.authority.append(dns.rrset.from_text("example.org.", 3600, "IN", "SOA", soa))
        return response

    return reply
