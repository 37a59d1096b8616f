"""The wall clock of a worker, which can be stepped from outside while it runs.

The Python function is replaced in the worker's process: libfaketime steps the monotonic clock along, or
breaks `time.sleep` (0.9.10, 2026-11-26). Timers are monotonic, leases and due times the database's.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

_SECONDS = struct.Struct("d")


class Clock:
    """In a file, by how many seconds it is ahead of the machine's."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}.clock"
        if not self._path.exists():
            self.step(0.0)

    def step(self, ahead_s: float) -> None:
        """From now on it is so much ahead, or behind."""
        mode = "r+b" if self._path.exists() else "wb"
        with self._path.open(mode) as file:
            file.write(_SECONDS.pack(ahead_s))

    def install(self) -> None:
        """Make it that of this process."""
        with self._path.open("rb") as file:
            ahead = mmap.mmap(file.fileno(), _SECONDS.size, prot=mmap.PROT_READ)
        real = time.time
        time.time = lambda: real() + _SECONDS.unpack(ahead[:])[0]
