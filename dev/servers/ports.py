"""Loopback ports that nobody else will take, not even while our server on one of them is stopped.

"Bind to port 0 and close" hands out ports from the kernel's ephemeral range, where any outgoing connection
may sit a moment later. These lie below that range and are held by a lock on a file, which the kernel drops
when this process ends in whatever way; a second run on the same machine sees the lock and goes on.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

ADDRESS = "127.0.0.1"
#: Below Linux' ephemeral range (32768 and up) and above the ports that services usually have.
FIRST, LAST = 20_000, 32_000

_held: dict[int, IO[bytes]] = {}


def claim_port() -> int:
    """A port free on loopback for UDP and TCP, ours until `release_port` or the end of this process."""
    folder = Path(tempfile.gettempdir()) / f"dnsworker-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in random.sample(range(FIRST, LAST), k=2_000):
        if port in _held:
            continue
        lock = (folder / str(port)).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if is_free(port):
            _held[port] = lock
            return port
        lock.close()
    raise RuntimeError(f"no free loopback port between {FIRST} and {LAST}")


def release_port(port: int) -> None:
    """Give a port back. The lock's file stays: removing it would race with the next holder."""
    lock = _held.pop(port, None)
    if lock is not None:
        lock.close()


def is_free(port: int) -> bool:
    """Whether nobody is bound to the port right now, over UDP or TCP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # As servers do: connections in TIME_WAIT are no reason to refuse, a listener is.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                return False
    return True
