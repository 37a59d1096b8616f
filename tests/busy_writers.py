"""Others who write to a zone of ours by dynamic update: an ACME client and a DHCP server, without a pause."""

from __future__ import annotations

import contextlib
import itertools
import threading
from types import TracebackType
from typing import Self

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.update

from dnsworker.names import Name
from dnsworker.records import Key


class BusyWriter:
    """Sets, replaces and removes its own records in a thread of its own, until the `with` is over.

    `key` is the name and secret of its TSIG key; `pause_s` what lies between two updates.
    """

    def __init__(
        self, address: str, port: int, zone: Name, key: tuple[str, str], *, pause_s: float = 0.0
    ) -> None:
        self._address, self._port, self._zone, self._pause_s = address, port, zone, pause_s
        self._key = dns.tsig.Key(*key)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        #: What it has written, and must find at the end.
        self.records: dict[Key, set[str]] = {}
        self.updates = 0
        #: What the server said to one that it didn't take.
        self.refusals: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for(self, updates: int) -> None:
        """Until it has made so many more."""
        until = self.updates + updates
        for _ in range(6000):
            if self.updates >= until:
                return
            self._is_over.wait(0.01)
        raise AssertionError(f"only {self.updates} updates: {self.refusals}")

    def _write(self) -> None:
        for number in itertools.count():
            if self._is_over.wait(self._pause_s):
                return
            owner, kind, value = self._next(number)
            name = f"{owner}.{self._zone}"
            update = dns.update.UpdateMessage(
                self._zone, keyring={self._key.name: self._key}, keyalgorithm=self._key.algorithm
            )
            if value is None:
                update.delete(dns.name.from_text(name), kind)
            else:
                update.replace(dns.name.from_text(name), 60, kind, value)
            self._send(update)
            key = (Name(name), kind)
            self.records.pop(key, None)
            if value is not None:
                self.records[key] = {value}

    def _next(self, number: int) -> tuple[str, str, str | None]:
        """Leases that come, change and go; challenges that come and go."""
        if number % 5 == 0:
            return "_acme-challenge", "TXT", f'"token-{number}"' if number % 2 else None
        return (
            f"pc{number % 7}.dhcp",
            "A",
            f"10.1.{number // 250 % 250}.{number % 250}" if number % 3 else None,
        )

    def _send(self, update: dns.update.UpdateMessage) -> None:
        with contextlib.suppress(dns.exception.Timeout):
            answer = dns.query.tcp(update, self._address, port=self._port, timeout=10)
            self.updates += 1
            if answer.rcode() != dns.rcode.NOERROR:
                self.refusals.append(dns.rcode.to_text(answer.rcode()))
