"""Asking each target and nameserver of a pool whether it answers, for `pool check`.

All at once, each under its own time-out, so that one dead server doesn't hide the others.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import dns.tsig

from dnsworker.backend import load_backend
from dnsworker.errors import BackendError, ConfigError
from dnsworker.pools import Nameserver, Pool, Target, build_options
from dnsworker.settings import Settings


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    pool: str
    what: str
    name: str
    ok: bool
    message: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_pools(pools: list[Pool], settings: Settings) -> list[Check]:
    """One `Check` for each target and nameserver, in the order of the file."""
    jobs: list[Callable[[], Check]] = []
    for pool in pools:
        jobs += [partial(_check_target, pool, target) for target in pool.targets]
        jobs += [partial(_check_nameserver, pool, server, settings) for server in pool.nameservers]
    if not jobs:
        return []
    with ThreadPoolExecutor(max_workers=min(len(jobs), 16)) as threads:
        return list(threads.map(lambda job: job(), jobs))


def _check_target(pool: Pool, target: Target) -> Check:
    try:
        backend = load_backend(target.type)(target.name, build_options(target))
        try:
            health = backend.check()
        finally:
            backend.close()
    except (ConfigError, BackendError) as exc:
        return Check(pool.name, "target", target.name, False, exc.message)
    return Check(pool.name, "target", target.name, health.ok, health.message)


def _check_nameserver(pool: Pool, server: Nameserver, settings: Settings) -> Check:
    """Any answer counts, REFUSED too: there may be no zone yet. A key that it doesn't take doesn't."""
    query = dns.message.make_query(pool.ns_records[0].hostname, "SOA")
    ok, message = False, ""
    try:
        if server.tsig_key is not None:
            query.use_tsig(server.tsig_key.to_dnspython())
        answer = dns.query.udp(
            query, _address(server), timeout=max(settings.query_timeout_s, 2), port=server.port
        )
        ok, message = True, f"answers ({dns.rcode.to_text(answer.rcode())})"
        if answer.rcode() == dns.rcode.NOTAUTH and server.tsig_key is not None:
            ok, message = False, f"does not accept TSIG key {server.tsig_key.name}"
    except ConfigError as exc:
        message = exc.message
    except dns.tsig.PeerError as exc:
        message = f"does not accept TSIG key {server.tsig_key.name if server.tsig_key else ''}: {exc}"
    except dns.exception.Timeout:
        message = "no answer over UDP"
    except (dns.exception.DNSException, OSError) as exc:
        message = str(exc) or type(exc).__name__
    return Check(pool.name, "nameserver", server.address, ok, message)


def _address(server: Nameserver) -> str:
    """An IP address of the server. Raises `OSError`."""
    import socket

    return str(socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0][4][0])
