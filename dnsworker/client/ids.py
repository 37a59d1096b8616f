"""Operation ids: UUIDv7 (RFC 9562, section 5.7), which sort by the time at which they were made.

Separate because `uuid.uuid7` exists only from Python 3.14 on.
"""

from __future__ import annotations

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A UUIDv7, greater than all that this process made before (section 6.2, method 3)."""
    global _last
    with _lock:
        # 48 bits of milliseconds and 12 bits of their fraction are one clock of 60 bits.
        _last = max(_last + 1, (time.time_ns() << 12) // 1_000_000)
        clock = _last
    random = int.from_bytes(os.urandom(8), "big") >> 2
    value = (clock >> 12) << 80 | 0x7 << 76 | (clock & 0xFFF) << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it


os.register_at_fork(after_in_child=_after_fork)
