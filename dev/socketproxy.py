"""`dnsworker.testing.Proxy` before a UNIX socket."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from dnsworker.testing import Proxy


class SocketProxy(Proxy):
    def __init__(
        self,
        server: Path,
        loses: Callable[[bytes], bool] = lambda request: False,
        *,
        watch: Callable[[], Callable[[bytes], object]] = lambda: len,
    ) -> None:
        self._server_path = server
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        super().__init__("", 0, loses, watch=watch)

    @property
    def path(self) -> Path:
        return Path(self._folder.name) / "socket"

    def close(self) -> None:
        super().close()
        self._folder.cleanup()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        return listener

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._server_path))
        return connection
