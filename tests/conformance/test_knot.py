"""The shipped suite against Knot DNS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backends.knot import BACKEND
from dev.servers import Knot
from dev.socketproxy import SocketProxy
from dev.writes import commits
from dnsworker.backend import Backend
from dnsworker.testing import BackendConformance, RequestCases
from tests.updatable import UpdatableServer


class KnotUnderTest(UpdatableServer):
    def __init__(self, server: Knot) -> None:
        super().__init__(server)
        self.control_proxy = SocketProxy(server.control_socket, loses=commits)
        self.sessions = 0
        self.counting_proxy = SocketProxy(server.control_socket, watch=self._note_session)

    def new_backend(self, **options: object) -> Backend:
        model = BACKEND.options_model.model_validate({**self.server.target_options(), **options})
        return BACKEND("test", model)

    def close(self) -> None:
        super().close()
        self.control_proxy.close()
        self.counting_proxy.close()

    def wrong_credentials(self) -> Backend:
        """The control socket knows none: whom the file system lets in may do everything."""
        return self.new_backend(tsig_key_secret=self.wrong_secret)

    def lossy(self) -> Backend:
        return self.new_backend(port=self.dns_proxy.port, control_socket=str(self.control_proxy.path))

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        dns = self.dns_counter
        backend = self.new_backend(port=dns.port, control_socket=str(self.counting_proxy.path))
        return backend, lambda: dns.count + self.sessions

    def _note_session(self) -> Callable[[bytes], object]:
        """One a connection, and one connection at a time."""
        self.sessions += 1
        return len


@pytest.fixture(scope="module")
def server() -> Iterator[KnotUnderTest]:
    """Not the one that other tests share: it is killed and wiped."""
    with Knot() as server:
        under_test = KnotUnderTest(server)
        yield under_test
        under_test.close()


class TestKnot(BackendConformance):
    backend_class = BACKEND


class TestRequestsToKnot(RequestCases):
    """DNS messages, and sessions at the control socket."""

    backend_class = BACKEND
