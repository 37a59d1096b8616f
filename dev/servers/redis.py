"""Redis, for outcomes and what workers share. It keeps nothing on disk: a restart forgets all."""

from __future__ import annotations

import socket
from typing import ClassVar

from dev.servers.server import Server


class Redis(Server):
    """A private redis-server."""

    package: ClassVar[str] = "redis-server"

    port: int

    def __init__(self, *, settings: str = "") -> None:
        """`settings`: more lines of redis.conf."""
        self._settings = settings
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{self.port}/0"

    def _claim_ports(self) -> None:
        self.port = self._port()

    def _configure(self) -> None:
        (self.folder / "redis.conf").write_text(
            f"bind {self.address}\nport {self.port}\ndir {self.folder}\n"
            f'save ""\nappendonly no\ndaemonize no\nsupervised no\n{self._settings}'
        )

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [self._program("redis-server"), str(self.folder / "redis.conf")], {}

    def _answers(self) -> bool:
        with socket.create_connection((self.address, self.port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
