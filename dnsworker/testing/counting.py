"""Requests counted where they arrive: by a proxy before a real server, whatever the backend says.

Separate from the proxy, which passes bytes on and knows no protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from dnsworker.testing.proxy import Proxy

#: Takes whole requests off the front of what a client has sent on one connection; returns how many.
TakeRequests = Callable[[bytearray], int]


class CountingProxy:
    """A `Proxy` that loses nothing and counts requests, over all connections."""

    def __init__(self, host: str, port: int, take_requests: TakeRequests) -> None:
        self._take_requests = take_requests
        self._lock = threading.Lock()
        self.count = 0
        self._proxy = Proxy(host, port, loses=lambda request: False, watch=self._watch)
        self.host, self.port = self._proxy.host, self._proxy.port

    def close(self) -> None:
        self._proxy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> Callable[[bytes], None]:
        unread = bytearray()

        def see(part: bytes) -> None:
            unread.extend(part)
            whole = self._take_requests(unread)
            with self._lock:
                self.count += whole

        return see


def http_requests(unread: bytearray) -> int:
    """HTTP/1.1 with a Content-Length (RFC 9112, section 6)."""
    whole = 0
    while (end := unread.find(b"\r\n\r\n")) >= 0:
        lines = bytes(unread[:end]).lower().split(b"\r\n")
        lengths = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
        size = end + 4 + (int(lengths[0]) if lengths else 0)
        if len(unread) < size:
            break
        del unread[:size]
        whole += 1
    return whole


def dns_requests(unread: bytearray) -> int:
    """DNS over TCP: a length of two octets before each message (RFC 1035, section 4.2.2)."""
    return len(_prefixed(unread, 2))


def rndc_requests(unread: bytearray) -> int:
    """Commands on named's control channel; the `null` that opens each connection isn't one."""
    return sum(b"\x04type\x01\x00\x00\x00\x04null" not in message for message in _prefixed(unread, 4))


def _prefixed(unread: bytearray, width: int) -> list[bytes]:
    """Whole messages, each behind its length."""
    whole = []
    while len(unread) >= width and len(unread) >= (size := width + int.from_bytes(unread[:width], "big")):
        whole.append(bytes(unread[:size]))
        del unread[:size]
    return whole
