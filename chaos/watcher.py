"""What resolvers would see all the while: every serial that each nameserver shows for each zone."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import threading
import time
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.rdatatype

from chaos.system import ZONES, Nameserver, System
from dnsworker import serials

ANSWER_S = 0.5
PAUSE_S = 0.01
QUERIES = {zone: dns.message.make_query(zone, "SOA").to_wire() for zone in ZONES}


@dataclass
class Sight:
    """A serial seen for the first time, or again after another one; and for the last time before the next."""

    at: float
    serial: int
    until: float


@dataclass(frozen=True)
class Fall:
    """A serial that didn't follow the one seen before it. `at` is of the monotonic clock."""

    at: float
    nameserver: str
    zone: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.nameserver} showed serial {self.after} of {self.zone} after {self.before}"


class Watcher:
    """Asks every nameserver for every zone, over and over, in a thread for each nameserver."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._stop = threading.Event()
        #: By nameserver, its life (`System.lives`) and zone.
        self.seen: dict[tuple[str, int, str], list[Sight]] = {}
        self._threads = [
            threading.Thread(target=self._watch, args=(name, server), name=f"watcher of {name}", daemon=True)
            for name, server in system.targets.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def falls(self) -> list[Fall]:
        return [
            Fall(after.at, nameserver, zone, before.serial, after.serial)
            for (nameserver, _, zone), sights in self.seen.items()
            for before, after in itertools.pairwise(sights)
            if not serials.is_ahead(after.serial, before.serial)
        ]

    @property
    def serials_seen(self) -> int:
        return sum(map(len, self.seen.values()))

    def _watch(self, name: str, server: Nameserver) -> None:
        while not self._stop.wait(PAUSE_S):
            for zone in ZONES:
                life, asked = self._system.lives[name], time.monotonic()
                serial = _serial(server, zone)
                # An answer belongs to the life in which it was asked for, unless that ended meanwhile.
                if serial is not None and life == self._system.lives[name]:
                    self._note(self.seen.setdefault((name, life, zone), []), serial, asked)

    def _note(self, sights: list[Sight], serial: int, asked: float) -> None:
        if not sights or sights[-1].serial != serial:
            sights.append(Sight(asked, serial, asked))
        sights[-1].until = asked


def _serial(server: Nameserver, zone: str) -> int | None:
    """None: no answer, or no zone."""
    with (
        contextlib.suppress(dns.exception.DNSException, OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
    ):
        asking.settimeout(ANSWER_S)
        asking.connect((server.address, server.port))
        asking.send(QUERIES[zone])
        return _serial_in(asking.recv(65535))
    return None


@functools.lru_cache(maxsize=1024)
def _serial_in(answer: bytes) -> int | None:
    """Kept, because nearly every answer is the last one again, and reading takes far longer than asking."""
    for rrset in dns.message.from_wire(answer).answer:
        if rrset.rdtype == dns.rdatatype.SOA:
            return int(rrset[0].serial)
    return None
