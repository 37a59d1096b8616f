"""The trouble that a line between workers and a target can be in, before a server that notes and answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chaos.line import Line, Trouble
from dev.servers.process import wait_until
from dnsworker.testing import Proxy

WRITE, READ = b"write", b"read"
SOON_S = 10.0


class Noting:
    """Answers each request with `ok`, and keeps it."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.noted = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(100):
                self.requests.append(request)
                self.noted.release()
                try:
                    connection.sendall(b"ok")
                except OSError:
                    return


@contextmanager
def a_client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((proxy.host, proxy.port), SOON_S) as client:
        yield client


def ask(client: socket.socket, request: bytes) -> bytes:
    """The answer; nothing where the connection ends without one."""
    try:
        client.sendall(request)
        return client.recv(100)
    except ConnectionError:
        return b""


@pytest.fixture
def server() -> Iterator[Noting]:
    server = Noting()
    yield server
    server.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@pytest.fixture
def proxy(line: Line, server: Noting) -> Proxy:
    return line.to("127.0.0.1", server.port, lambda request: request == WRITE)


def test_a_line_without_trouble_passes_everything_on(proxy: Proxy, server: Noting) -> None:
    with a_client(proxy) as client:
        assert ask(client, WRITE) == ask(client, READ) == b"ok"
    assert server.requests == [WRITE, READ]


def test_a_reset_line_ends_old_and_new_connections_until_it_heals(
    line: Line, proxy: Proxy, server: Noting
) -> None:
    with a_client(proxy) as client:
        assert ask(client, READ) == b"ok"
        line.fail("reset")
        assert ask(client, WRITE) == b""
    with a_client(proxy) as client:
        assert ask(client, WRITE) == b""
    line.heal()
    with a_client(proxy) as client:
        assert ask(client, READ) == b"ok"
    assert server.requests == [READ, READ]


def test_a_lossy_line_carries_writes_out_and_loses_their_answers(
    line: Line, proxy: Proxy, server: Noting
) -> None:
    line.fail("lossy")
    with a_client(proxy) as client:
        assert ask(client, READ) == b"ok"
        assert ask(client, WRITE) == b""
    assert server.requests == [READ, WRITE]


@pytest.mark.parametrize(("trouble", "arrives"), [("silent", False), ("late", True), ("slow", True)])
def test_what_waits_arrives_or_does_not_when_it_is_over(
    line: Line, proxy: Proxy, server: Noting, trouble: Trouble, arrives: bool
) -> None:
    line.fail(trouble, delay_s=SOON_S)
    with a_client(proxy) as client:
        client.sendall(WRITE)
        wait_until(lambda: line.held == 1, SOON_S, "the request to be held")
        assert not server.requests
        line.heal()
        assert client.recv(100) == (b"ok" if arrives else b"")
    assert server.requests == ([WRITE] if arrives else [])


def test_what_is_late_arrives_also_when_nobody_waits_any_more(
    line: Line, proxy: Proxy, server: Noting
) -> None:
    line.fail("late")
    with a_client(proxy) as client:
        client.sendall(WRITE)
        wait_until(lambda: line.held == 1, SOON_S, "the request to be held")
    assert not server.requests
    line.heal()
    assert server.noted.acquire(timeout=SOON_S)
    assert server.requests == [WRITE]
