"""What stands between a target and its server while a fault is tried: it passes everything on, or spoils it.

The server behind is the real one. What no server can be made to do (answer 500, lose an answer, accept what
it doesn't store) is done here, in its protocol.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import dns.message
import dns.opcode
import dns.rcode
import dns.tsig

from dev.socketproxy import SocketProxy
from dev.writes import has_update
from dnsworker.testing import Proxy

#: What happens to answers: `cut`, to all of them in the middle; `lose`, to those to writes, once these are
#: carried out.
Spoil = Literal["", "cut", "lose"]
LOCALHOST = "127.0.0.1"
_HOP_BY_HOP = ("connection", "transfer-encoding", "content-length")


# --- HTTP ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpGateway:
    """Passes HTTP on to `host:port`, on a plain port and on one with TLS."""

    def __init__(self, host: str, port: int, certificate: Path) -> None:
        self.spoil: Spoil = ""
        #: Answers in the server's place, which then hears nothing of the request; None: passes it on.
        self.answer: Callable[[str, str], Reply | None] = lambda method, path: None
        handler = _handler(self, host, port)
        self._servers = [_serve(handler, None), _serve(handler, _server_side(certificate))]
        self.port, self.tls_port = (server.server_port for server in self._servers)

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _serve(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> ThreadingHTTPServer:
    server = _Server((LOCALHOST, 0), handler)
    server.context = context
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: a client that says nothing keeps nobody else waiting."""
        if self.context is not None:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or doesn't speak TLS, is what is being tried."""


def _handler(gateway: HttpGateway, host: str, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            request = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = gateway.answer(self.command, self.path) or self._of_the_server(request)
            body = reply.body.encode()
            if gateway.spoil == "lose" and self.command != "GET":
                self.close_connection = True
                return
            self.send_response_only(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            is_cut = gateway.spoil == "cut"
            self.wfile.write(body[: len(body) // 2] if is_cut else body)
            self.close_connection = self.close_connection or is_cut

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def _of_the_server(self, request: bytes) -> Reply:
            connection = http.client.HTTPConnection(host, port, timeout=30)
            connection.request(self.command, self.path, request, dict(self.headers))
            answer = connection.getresponse()
            text = answer.read().decode()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
            connection.close()
            return Reply(answer.status, text, kept)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the test says what matters."""

    return Handler


# --- DNS ----------------------------------------------------------------------------------------------------


class _Cut(socket.socket):
    """A connection to the server that ends in the middle of the next answer when `is_due`."""

    def __init__(self, connection: socket.socket, is_due: Callable[[], bool]) -> None:
        super().__init__(fileno=connection.detach())
        self._is_due, self._has_ended = is_due, False

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._has_ended:
            return b""
        part = super().recv(size, flags)
        self._has_ended = self._is_due()
        return part[: len(part) // 2] if self._has_ended else part


class _Cutting(Proxy):
    """Cuts answers where `spoil` says so, and their connection with them."""

    spoil: Spoil = ""

    def _connect(self) -> socket.socket:
        return _Cut(super()._connect(), lambda: self.spoil == "cut")


class SpoilingProxy(_Cutting):
    """Any protocol; `is_write` tells by what the client has sent whether an answer is worth losing."""

    def __init__(self, host: str, port: int, is_write: Callable[[bytes], bool]) -> None:
        super().__init__(host, port, lambda request: self.spoil == "lose" and is_write(request))


class SpoilingSocketProxy(_Cutting, SocketProxy):
    """The same before a UNIX socket."""

    def __init__(self, server: Path, is_write: Callable[[bytes], bool]) -> None:
        super().__init__(server, lambda request: self.spoil == "lose" and is_write(request))


class DnsGateway(SpoilingProxy):
    """DNS over TCP, whose updates it can answer itself: with an rcode, signed as the server would."""

    def __init__(self, host: str, port: int, key: dns.tsig.Key) -> None:
        #: The rcode that updates get, while the server hears nothing of them; None: they are passed on.
        self.rcode: dns.rcode.Rcode | None = None
        #: The answer to every other request, too.
        self.is_for_all = False
        self._ring = {key.name: key}
        super().__init__(host, port, has_update)

    def _pass_requests(self, client: socket.socket, server: socket.socket, request: bytearray) -> None:
        unread = bytearray()
        with contextlib.suppress(OSError):
            while part := client.recv(65536):
                unread += part
                while len(unread) > 1 and len(unread) >= (size := 2 + int.from_bytes(unread[:2], "big")):
                    message = bytes(unread[:size])
                    del unread[:size]
                    if self.rcode is not None and (self.is_for_all or has_update(message)):
                        client.sendall(self._answer(message[2:], self.rcode))
                    else:
                        request += message
                        server.sendall(message)
        self._finish(client, server)

    def _answer(self, wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
        query = dns.message.from_wire(wire, keyring=self._ring)
        answer = dns.message.make_response(query)
        answer.set_rcode(rcode)
        signed = answer.to_wire()
        return len(signed).to_bytes(2, "big") + signed


# --- TLS ----------------------------------------------------------------------------------------------------


@contextmanager
def tls_only(certificate: Path) -> Iterator[int]:
    """A port where everybody must begin with TLS; nobody gets further."""
    context = _server_side(certificate)
    listener = socket.create_server((LOCALHOST, 0))

    def greet() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.settimeout(10)
                with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True):
                    """Whoever comes so far is sent away."""

    threading.Thread(target=greet, daemon=True).start()
    yield listener.getsockname()[1]
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
