"""What lies between the workers and a target: a proxy before each endpoint, all in trouble together."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from dev.servers import Bind, Knot, PowerDNS
from dev.socketproxy import SocketProxy
from dev.writes import changes_zones, commits, has_update, is_http_write
from dnsworker.testing import Proxy

#: `slow`: each request waits; `reset`: connections end, and no new one is had; `silent`: nothing passes, and
#: what was sent is lost; `late`: nothing passes until it is over, then all of it arrives, whoever still
#: waits; `lossy`: writes are carried out, and their answers lost.
Trouble = Literal["", "slow", "reset", "silent", "late", "lossy"]
#: What was sent again and again meanwhile arrives at some moment up to this much after it is over.
LATER_S = 3.0
IsWrite = Callable[[bytes], bool]


class Line:
    """Passes everything on, but for what trouble it is in."""

    def __init__(self) -> None:
        self.proxies: list[Proxy] = []
        #: Pieces of requests that had to wait.
        self.held = 0
        self._trouble: Trouble = ""
        self._delay_s = 0.0
        self._is_over = threading.Event()

    def fail(self, trouble: Trouble, *, delay_s: float = 0.0) -> None:
        """`delay_s`: how long each request waits when it is slow."""
        self._is_over.clear()
        self._trouble, self._delay_s = trouble, delay_s
        if trouble == "reset":
            self._cut()

    def heal(self) -> None:
        ended, self._trouble = self._trouble, ""
        if ended == "silent":
            self._cut()
        self._is_over.set()

    def close(self) -> None:
        self.heal()
        for proxy in self.proxies:
            proxy.close()

    def to(self, host: str, port: int, is_write: IsWrite) -> Proxy:
        """One more endpoint of the target."""
        self.proxies.append(Proxy(host, port, self._losing(is_write), watch=lambda: self._hold))
        return self.proxies[-1]

    def to_socket(self, path: Path, is_write: IsWrite) -> SocketProxy:
        """The same, at a UNIX socket."""
        proxy = SocketProxy(path, self._losing(is_write), watch=lambda: self._hold)
        self.proxies.append(proxy)
        return proxy

    def _cut(self) -> None:
        for proxy in self.proxies:
            proxy.cut()

    def _hold(self, _: bytes) -> None:
        """What is done to a piece of a request before the server has it. OSError: it never will."""
        trouble = self._trouble
        self.held += trouble in ("slow", "silent", "late")
        if trouble == "slow":
            self._is_over.wait(self._delay_s)
        elif trouble in ("silent", "late"):
            self._is_over.wait()
        if trouble == "late":
            time.sleep(random.uniform(0.0, LATER_S))
        if trouble in ("silent", "reset"):
            raise ConnectionAbortedError("the line is cut")

    def _losing(self, is_write: IsWrite) -> IsWrite:
        """Whether the answer to a request never arrives; one that does may be kept waiting here."""

        def loses(request: bytes) -> bool:
            if self._trouble in ("silent", "late"):
                self._is_over.wait()
            return self._trouble == "lossy" and is_write(request)

        return loses


def options_through(line: Line, server: Bind | Knot | PowerDNS) -> dict[str, Any]:
    """The server's `options` in pools.yaml, with all endpoints at the other end of the line."""
    options = server.target_options()
    if isinstance(server, PowerDNS):
        api = line.to(server.address, server.api_port, is_http_write)
        return {**options, "api_url": f"http://{api.host}:{api.port}"}
    options["port"] = line.to(server.address, server.port, has_update).port
    if isinstance(server, Knot):
        return {**options, "control_socket": str(line.to_socket(server.control_socket, commits).path)}
    return {**options, "rndc_port": line.to(server.address, server.rndc_port, changes_zones).port}
