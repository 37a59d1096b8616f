"""Asking nameservers, for one asyncio loop.

Time-outs, SERVFAIL and garbage mean "don't know": never "absent", never "done". What an answer means is
judged in `dnsworker.judgement`, without the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.tsig

from dnsworker import names, wire
from dnsworker.errors import DNSWorkerError
from dnsworker.judgement import (
    NameserverAddress,
    Observed,
    agrees,
    is_gone,
    is_quick,
    read_response,
    read_wire,
    unknown,
)
from dnsworker.names import Name

__all__ = ["NameserverAddress", "Observed", "Observer", "agrees", "is_gone", "read_response"]

EDNS_PAYLOAD = 1232
MAX_DATAGRAM = 65535
#: Questions under way at once; each has a socket of its own, with a port that nobody can guess.
MAX_UNDER_WAY = 200
#: A datagram may get lost: ask once more after this share of the time.
RESEND_AFTER = 0.4
#: How long the address of a nameserver given by name is believed.
ADDRESS_TTL_S = 60.0


class Observer:
    """Asks over UDP, over TCP where the answer is truncated."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(MAX_UNDER_WAY)
        self._addresses: dict[str, tuple[float, str]] = {}

    async def ask(self, server: NameserverAddress, qname: Name, qtype: str, timeout_s: float) -> Observed:
        """One question. Never raises for what the network or the server does. Waiting for a free socket
        doesn't count as the server's time.
        """
        async with self._gate:
            started = time.monotonic()
            try:
                async with asyncio.timeout(timeout_s):
                    response = await self._exchange(server, qname, qtype, timeout_s)
                observed = read_response(response)
            except TimeoutError:
                return unknown(f"no answer within {timeout_s:g} s")
            except dns.tsig.PeerError as exc:
                return unknown(f"does not accept our key ({type(exc).__name__})")
            except (dns.exception.DNSException, DNSWorkerError, OSError, EOFError, ValueError) as exc:
                return unknown(_words(exc))
            return replace(observed, rtt_s=time.monotonic() - started)

    async def ask_all(
        self, server: NameserverAddress, questions: Sequence[tuple[Name, str]], timeout_s: float
    ) -> list[Observed]:
        """Several questions at once. Never raises for what the network or the server does."""
        observed: dict[int, Observed] = {}
        if server.tsig_key is None and questions:
            async with self._gate:
                observed = await self._ask_quickly(server, questions, timeout_s)
        # The rest is signed, truncated or otherwise unusual.
        rest = [index for index in range(len(questions)) if index not in observed]
        answers = await asyncio.gather(*(self.ask(server, *questions[index], timeout_s) for index in rest))
        observed |= zip(rest, answers, strict=True)
        return [observed[index] for index in range(len(questions))]

    async def _ask_quickly(
        self, server: NameserverAddress, questions: Sequence[tuple[Name, str]], timeout_s: float
    ) -> dict[int, Observed]:
        """By the index of the question; without those whose answers have to be asked for in another way.

        They share a socket, and so a port that nobody can guess; each has an id that nobody can guess.
        """
        exchange = _Exchange(questions)
        try:
            address = await self._address(server.host)
            await exchange.run(address, server.port, timeout_s)
        except TimeoutError:
            error = f"no answer within {timeout_s:g} s"
        except OSError as exc:
            error = _words(exc)
        else:
            error = ""
        return exchange.observed | {index: unknown(error) for index, _ in exchange.open.values()}

    async def close(self) -> None:
        """Nothing is kept open between questions."""

    async def _exchange(
        self, server: NameserverAddress, qname: Name, qtype: str, timeout_s: float
    ) -> dns.message.Message:
        address = await self._address(server.host)
        query = dns.message.make_query(
            names.to_dnspython(qname), qtype, use_edns=0, payload=EDNS_PAYLOAD, flags=0
        )
        if server.tsig_key is not None:
            query.use_tsig(server.tsig_key)
        response = await _over_udp(query, address, server.port, timeout_s * RESEND_AFTER)
        if response.flags & dns.flags.TC:
            # The time-out around all of it ends this one as well.
            response = await dns.asyncquery.tcp(query, address, port=server.port, timeout=timeout_s)
            if server.tsig_key is not None and not response.had_tsig:
                raise dns.tsig.PeerError  # an unsigned answer to a signed question
        return response

    async def _address(self, host: str) -> str:
        """The host's IP address. Raises `OSError`."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(host))
        known = self._addresses.get(host)
        if known is None or known[0] < time.monotonic():
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
            known = (time.monotonic() + ADDRESS_TTL_S, str(found[0][4][0]))
            self._addresses[host] = known
        return known[1]


class _Exchange:
    """Questions to one server over one socket, that of this exchange alone."""

    def __init__(self, questions: Sequence[tuple[Name, str]]) -> None:
        #: What hasn't been answered, by message id: the question's index, and the message.
        self.open: dict[int, tuple[int, bytes]] = {}
        for index, (qname, qtype) in enumerate(questions):
            while (message_id := secrets.randbits(16)) in self.open:
                pass
            message = wire.question(message_id, qname, qtype, payload=EDNS_PAYLOAD)
            self.open[message_id] = index, message
        self.observed: dict[int, Observed] = {}

    async def run(self, address: str, port: int, timeout_s: float) -> None:
        """Returns when all is answered. Raises `TimeoutError`, `OSError`."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            # Connected: a stranger's datagrams don't arrive, and a closed port says so at once.
            udp.connect((address, port))
            done: asyncio.Future[None] = loop.create_future()
            # By its number: asyncio puts a new socket into words first, which takes four system calls.
            loop.add_reader(udp.fileno(), self._receive, udp, done)
            timer = loop.call_later(timeout_s * RESEND_AFTER, self._send, udp)
            try:
                self._send(udp)
                async with asyncio.timeout(timeout_s):
                    await done
            finally:
                timer.cancel()
                loop.remove_reader(udp.fileno())

    def _send(self, udp: socket.socket) -> None:
        """All that isn't answered. What can't be sent is as good as lost: whoever waits hears of it."""
        for _, message in self.open.values():
            with contextlib.suppress(OSError):
                udp.send(message)

    def _receive(self, udp: socket.socket, done: asyncio.Future[None]) -> None:
        while not done.done():
            try:
                octets = udp.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as exc:
                done.set_exception(exc)
                return
            self._take(octets)
            if not self.open:
                done.set_result(None)

    def _take(self, octets: bytes) -> None:
        """Pass over what isn't an answer to one of the questions."""
        index, message = self.open.get(int.from_bytes(octets[:2]), (-1, b""))
        if index < 0:
            return
        try:
            response = wire.Message(octets)
            if not response.is_response or not response.repeats(message):
                return
            if not response.is_truncated and is_quick(response):
                self.observed[index] = read_wire(response)
        except dns.exception.DNSException:
            return
        del self.open[response.id]


async def _over_udp(
    query: dns.message.Message, address: str, port: int, resend_after_s: float
) -> dns.message.Message:
    """The first answer that belongs to the query; all else is passed over until the caller's time-out."""
    loop = asyncio.get_running_loop()
    octets = query.to_wire()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        # Connected: a stranger's datagrams don't arrive, and a closed port says so at once.
        await loop.sock_connect(udp, (address, port))
        await loop.sock_sendall(udp, octets)
        with _resending(udp, octets, resend_after_s):
            while True:
                response = _matching(await loop.sock_recv(udp, MAX_DATAGRAM), query)
                if response is not None:
                    return response


def _matching(octets: bytes, query: dns.message.Message) -> dns.message.Message | None:
    """The response, if it is one to this query. Raises dnspython's errors about keys only."""
    try:
        response = dns.message.from_wire(octets, keyring=query.keyring, request_mac=query.mac)
    except dns.tsig.PeerError:
        raise
    except (dns.exception.DNSException, ValueError, IndexError):
        return None
    is_signed_as_asked = query.keyring is None or response.had_tsig
    return response if query.is_response(response) and is_signed_as_asked else None


@contextlib.contextmanager
def _resending(udp: socket.socket, wire: bytes, after_s: float) -> Iterator[None]:
    def resend() -> None:
        with contextlib.suppress(OSError):  # the one who waits for the answer hears of it
            udp.send(wire)

    timer = asyncio.get_running_loop().call_later(after_s, resend)
    try:
        yield
    finally:
        timer.cancel()


def _words(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
