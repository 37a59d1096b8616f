"""The shipped suite against NSD, a secondary of a primary in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.query
import pytest

from backends.nsd import BACKEND
from dev.servers import Nsd
from dev.servers.process import tail
from dnsworker.backend import Backend
from dnsworker.names import Name
from dnsworker.testing import (
    BackendConformance,
    CountingProxy,
    Fed,
    Primary,
    RequestCases,
    ServerUnderTest,
    dns_requests,
)
from dnsworker.testing.lab import has_authority
from tests.tlsproxy import TlsProxy

#: For all that NSD does after it has answered.
PATIENCE_S = 30


class NsdUnderTest(ServerUnderTest):
    settle_s = PATIENCE_S

    def __init__(self, server: Nsd, primary: Primary, stranger: Path) -> None:
        """`stranger`: a folder of certificates that the server doesn't know."""
        self.server, self.primary, self.stranger = server, primary, stranger
        self.proxy = TlsProxy(server, self._lose)
        self.commands = 0
        self.control_counter = TlsProxy(server, self._count)
        self.dns_counter = CountingProxy(server.address, server.port, dns_requests)

    def close(self) -> None:
        for proxy in (self.proxy, self.control_counter, self.dns_counter):
            proxy.close()

    def new_backend(self, **options: object) -> Backend:
        model = BACKEND.options_model.model_validate({**self.server.target_options(), **options})
        return Fed(BACKEND("test", model, timeout_s=PATIENCE_S), self.primary)

    def start(self) -> None:
        """NSD may have lost what it had not written yet. It fetches that again, of itself or when told to."""
        self.server.start()
        for line in self.server.control("zonestatus").splitlines():
            key, _, value = line.strip().partition(":")
            if key == "zone":
                self._wait_for(Name(f"{value.strip()}."))

    def stop(self) -> None:
        """As docs/backends/nsd.md says; of itself NSD writes no files when it stops."""
        if self.server.is_running:
            self.server.control("write")
        self.server.stop()

    def kill(self) -> None:
        self.server.kill()

    def wipe(self) -> None:
        self.server.wipe()
        self.server.start()

    def wrong_credentials(self) -> Backend:
        files = {f"control_{kind}_file": str(self.stranger / f"nsd_control.{end}") for kind, end in _FILES}
        return self.new_backend(tsig_key=f"{self.server.key_name}:{self.wrong_secret}", **files)

    def lossy(self) -> Backend:
        return self.new_backend(control_port=self.proxy.port)

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        dns = self.dns_counter
        backend = self.new_backend(port=dns.port, control_port=self.control_counter.port)
        return backend, lambda: dns.count + self.commands

    def query(self, name: Name, type: str) -> dns.message.Message:
        # Over UDP: connections are cut when NSD's processes are replaced.
        query = dns.message.make_query(name, type, flags=0)
        return dns.query.udp(query, self.server.address, port=self.server.port, timeout=PATIENCE_S)

    def _lose(self, command: str, answer: bytes) -> bytes | None:
        """Of a write, when the server has carried it out."""
        word, _, rest = command.partition(" ")
        if word not in ("addzone", "delzone", "transfer", "force_transfer"):
            return answer
        if word != "delzone":
            self._wait_for(Name(f"{rest.split()[0]}."))
        return None

    def _count(self, command: str, answer: bytes) -> bytes:
        self.commands += 1
        return answer

    def _wait_for(self, zone: Name) -> None:
        """Until it serves what the primary has."""
        wanted = self.primary.contents(zone)
        deadline = time.monotonic() + PATIENCE_S
        order_at = time.monotonic() + 1  # it begins of itself when it starts
        while wanted is not None:
            answer = self.query(zone, "SOA")
            if has_authority(answer) and answer.answer and answer.answer[0][0].serial == wanted.soa.serial:
                return
            assert time.monotonic() < deadline, f"{zone}: {tail(self.server.log_path)}"
            if time.monotonic() > order_at:
                self.server.control("force_transfer", zone.removesuffix("."))
                order_at += 5
            time.sleep(0.02)


_FILES = (("cert", "pem"), ("key", "key"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NsdUnderTest]:
    """Not the one that other tests share: it is killed and wiped."""
    stranger = Nsd()
    stranger._configure()
    with Primary() as primary, Nsd(primary=(primary.host, primary.port)) as server:
        under_test = NsdUnderTest(server, primary, stranger.folder)
        yield under_test
        under_test.close()
    stranger.close()


class TestNsd(BackendConformance):
    backend_class = BACKEND
    capabilities = replace(BACKEND.capabilities, pull=False)  # as `Fed` has it
    without = frozenset(
        {
            # A secondary has what its primary has; the company of a CNAME is judged there.
            *("edit_by_hand", "test_an_alias_beside_other_data_is_never_done_silently"),
        }
    )


class TestRequestsToNsd(RequestCases):
    """DNS messages, and commands at the control socket."""

    backend_class = BACKEND
    capabilities = replace(BACKEND.capabilities, pull=False)
    without = frozenset(
        {
            "edit_by_hand",  # a secondary has what its primary has
        }
    )
