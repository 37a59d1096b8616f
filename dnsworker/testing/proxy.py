"""A TCP proxy before a real server that loses answers: the one failure that no server has a switch for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

_PART_BYTES = 65536
_IDLE_S = 30.0


class Proxy:
    """Listens on loopback and passes bytes on, but loses the answers to what `loses` says.

    `loses(request)` gets the bytes that the client has sent since the last answer. When it says True, the
    request reaches the server, the proxy waits for the server's answer to begin (so the server has carried it
    out), and then closes the connection. One thread per direction and connection; `close` ends all.

    `watch` is called for each connection, and what it returns with each piece that the client sends there,
    before the server has it.
    """

    def __init__(
        self,
        host: str,
        port: int,
        loses: Callable[[bytes], bool],
        *,
        watch: Callable[[], Callable[[bytes], object]] = lambda: len,
    ) -> None:
        self._server = (host, port)
        self._loses, self._watch = loses, watch
        self._listener = self._listen()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        #: How many answers were lost.
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        # shutdown wakes the thread in accept(); close alone would leave it there for ever.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections that are open now."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _end(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._server, timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            for connection in (client, server):
                connection.settimeout(_IDLE_S)
            with self._lock:
                self._open |= {client, server}
            request = bytearray()
            for work in (self._pass_requests, self._pass_answers):
                threading.Thread(target=work, args=(client, server, request), daemon=True).start()

    def _pass_requests(self, client: socket.socket, server: socket.socket, request: bytearray) -> None:
        see = self._watch()
        with contextlib.suppress(OSError):
            while part := client.recv(_PART_BYTES):
                see(part)
                request += part
                server.sendall(part)
        self._finish(client, server)

    def _pass_answers(self, client: socket.socket, server: socket.socket, request: bytearray) -> None:
        with contextlib.suppress(OSError):
            while part := server.recv(_PART_BYTES):
                if self._loses(bytes(request)):
                    self.lost += 1
                    break
                request.clear()
                client.sendall(part)
        self._finish(client, server)

    def _finish(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._open -= {client, server}
        _end(client)
        _end(server)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
