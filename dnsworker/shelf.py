"""Backend objects between two deliveries, kept with their connections.

Separate from the deliveries, because each of them has an object to itself, whichever thread it runs in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dnsworker.backend import Backend, load_backend
from dnsworker.pools import build_options
from dnsworker.store.pools import KnownPool

#: A request to a target ends well before the lease of its delivery (60 s by default).
REQUEST_TIMEOUT_S = 5.0


class Shelf:
    """Of one process, for all targets. Safe for threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        #: By target and version of its pool.
        self._backends: dict[tuple[str, int], list[Backend]] = {}
        self._is_closed = False

    def close(self) -> None:
        """What is lent closes when it comes back."""
        self._is_closed = True
        with self._guard:
            idle = [backend for backends in self._backends.values() for backend in backends]
            self._backends.clear()
        for backend in idle:
            backend.close()

    @contextmanager
    def borrow(self, known: KnownPool, target: str) -> Iterator[Backend]:
        """A backend object for one delivery; kept with its connections for the next, unless it failed."""
        key = (target, known.version)
        with self._guard:
            idle = self._backends.get(key)
            backend = idle.pop() if idle else None
        if backend is None:
            wanted = known.pool.target(target)
            backend = load_backend(wanted.type)(target, build_options(wanted), timeout_s=REQUEST_TIMEOUT_S)
        try:
            yield backend
        except BaseException:
            backend.close()
            raise
        with self._guard:
            if not self._is_closed:
                self._backends.setdefault(key, []).append(backend)
                return
        backend.close()
