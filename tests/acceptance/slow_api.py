"""A small HTTP proxy that lets every request to a server's API wait: the slow target of a test."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_HOP_BY_HOP = ("connection", "transfer-encoding", "content-length", "server", "date")


class SlowProxy:
    """Passes HTTP on to `host:port` after `delay_s`, which may change while it runs."""

    def __init__(self, host: str, port: int) -> None:
        self.delay_s = 0.0
        #: Requests that wait or are being answered now, and the most there were at once.
        self.waiting = self.most_waiting = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with proxy._counted():
                    proxy._changed.wait(proxy.delay_s)
                    connection = http.client.HTTPConnection(host, port, timeout=10)
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    text = answer.read()
                    connection.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the test says what matters."""

        #: Set when nobody is to wait any longer.
        self._changed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def slow_down(self, delay_s: float) -> None:
        self._changed.clear()
        self.delay_s = delay_s

    def let_go(self) -> None:
        """No request waits from now on, nor any that does so now."""
        self.delay_s = 0.0
        self._changed.set()

    def close(self) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            yield
        finally:
            with self._lock:
                self.waiting -= 1
