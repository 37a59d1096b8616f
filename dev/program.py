"""One process of our own: a worker, beat or Flower, to be killed, frozen and started again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from dev.servers import Process, ServerError
from dev.servers.process import tail, wait_until

ROOT = Path(__file__).resolve().parent.parent
READY_S = 60.0


class Program:
    """One of our own processes: a worker, beat or Flower. It can be killed, frozen and started again."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        ready: str,
        folder: Path,
        env: Callable[[], dict[str, str]],
    ) -> None:
        """`arguments` for `python -m`; `ready` is what its log says then; `env` is asked at each start."""
        self.name, self.log_path = name, folder / f"{name}.log"
        self._arguments, self._ready, self._env = arguments, ready, env
        self._process: Process | None = None
        #: Where the log of the present run begins: an earlier run's "ready" doesn't count.
        self._log_start = 0

    def start(self, *, wait: bool = True) -> Self:
        """Start it; returns when it is ready, unless `wait` is off. Raises `ServerError` with its log."""
        if not self.is_running:
            self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            argv = [sys.executable, "-m", *self._arguments]
            self._process = Process(argv, log_path=self.log_path, env=self._env(), cwd=ROOT)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        try:
            wait_until(self._is_ready, timeout_s, f"{self.name} to be ready")
        except ServerError as exc:
            raise ServerError(f"{exc}\n{self.log_path}:\n{tail(self.log_path)}") from exc

    def stop(self, grace_s: float = 35.0) -> None:
        """SIGTERM: it finishes what it runs."""
        if self._process:
            self._process.stop(grace_s)

    def kill(self) -> None:
        """`kill -9`."""
        if self._process:
            self._process.kill()

    def pause(self) -> None:
        self._running().pause()

    def cont(self) -> None:
        self._running().cont()

    def restart(self, *, wait: bool = True) -> None:
        self.stop()
        self.start(wait=wait)

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def _is_ready(self) -> bool:
        if not self.is_running:
            raise ServerError(f"{self.name} ended with status {self._running().returncode}")
        return self._ready in self.log[self._log_start :]

    def _running(self) -> Process:
        if self._process is None:
            raise ServerError(f"{self.name} has not been started")
        return self._process
