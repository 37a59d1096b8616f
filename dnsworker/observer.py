"""Asking nameservers, for one asyncio loop.

Time-outs, SERVFAIL and garbage mean "don't know": never "absent", never "done". What an answer means is
judged in `dnsworker.judgement`, without the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.tsig

from dnsworker import names
from dnsworker.errors import DNSWorkerError
from dnsworker.judgement import NameserverAddress, Observed, agrees, is_gone, read_response, unknown
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


async def _over_udp(
    query: dns.message.Message, address: str, port: int, resend_after_s: float
) -> dns.message.Message:
    """The first answer that belongs to the query; all else is passed over until the caller's time-out."""
    loop = asyncio.get_running_loop()
    wire = query.to_wire()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        # Connected: a stranger's datagrams don't arrive, and a closed port says so at once.
        await loop.sock_connect(udp, (address, port))
        await loop.sock_sendall(udp, wire)
        with _resending(udp, wire, resend_after_s):
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
