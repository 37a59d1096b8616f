"""A private server: its folder, ports and configuration, started and waited for until it really answers."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import weakref
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ClassVar, Self

from dev.servers import tree
from dev.servers.folders import make_folder, remove_folder
from dev.servers.ports import claim_port, release_port
from dev.servers.process import Process, ServerError, find_program, tail, wait_until


class Server(ABC):
    """A server with a folder and ports of its own. Ports and secrets stay the same over restarts.

    `with Bind() as server: …` starts it, and at the end stops it and removes the folder.
    """

    #: The package that brings it, for the error when it isn't installed.
    package: ClassVar[str]
    address: ClassVar[str] = "127.0.0.1"
    ready_s: ClassVar[float] = 60.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    orphan_signal: ClassVar[signal.Signals] = signal.SIGKILL
    #: The account to run under when we are root and the server refuses to be.
    user: str | None = None

    def __init__(self) -> None:
        self.folder = make_folder(type(self).__name__.lower())
        self.log_path = self.folder / "server.log"
        self._ports: list[int] = []
        self._process: Process | None = None
        self._owner = os.getpid()
        self._claim_ports()
        _servers.add(self)

    @abstractmethod
    def _claim_ports(self) -> None:
        """Set the port attributes, each from `self._port()`."""

    @abstractmethod
    def _configure(self) -> None:
        """Write configuration and empty data, where they aren't there yet."""

    @abstractmethod
    def _command(self) -> tuple[list[str], dict[str, str]]:
        """The command line in the foreground, and what it needs in the environment."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it does its work right now; False or OSError: not yet."""

    def start(self) -> Self:
        """Start it and return when it answers. Raises `ServerError`."""
        if self.is_running:
            return self
        is_first = self._process is None
        for remaining in (2, 1, 0):
            self._configure()
            argv, env = self._command()
            self._process = Process(
                argv,
                log_path=self.log_path,
                env={**os.environ, **env},
                user=self.user,
                cwd=self.folder,
                stop_signal=self.stop_signal,
                orphan_signal=self.orphan_signal,
            )
            try:
                wait_until(self._is_ready, self.ready_s, f"{type(self).__name__} to answer")
            except ServerError as exc:
                lines = tail(self.log_path)
                self._process.kill()
                # A stranger took the port between our look and the server's bind: other ports, once more.
                if is_first and remaining and "in use" in lines.lower():
                    self._release_ports()
                    self.wipe()
                    self._claim_ports()
                    continue
                raise ServerError(f"{exc}\n{self.log_path}:\n{lines}") from exc
            break
        return self

    def stop(self, grace_s: float = 15.0) -> None:
        """An orderly end; data and ports stay. Nothing happens when it isn't running."""
        if self._process:
            self._process.stop(grace_s)

    def kill(self) -> None:
        """`kill -9`."""
        if self._process:
            self._process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, nobody is answered."""
        self._running().pause()

    def cont(self) -> None:
        self._running().cont()

    def wipe(self) -> None:
        """Stop it and forget all its data; the next `start` begins empty, with the same ports and keys."""
        self.stop()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self.log_path:
                path.unlink()

    def close(self) -> None:
        """Stop it, give the ports back and remove the folder."""
        self.stop()
        self._release_ports()
        remove_folder(self.folder)
        _servers.discard(self)

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def pids(self) -> list[int]:
        """Its own and its children's."""
        return [member.pid for member in tree.family(self.pid)]

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_ready(self) -> bool:
        if self._process and not self._process.is_running:
            raise ServerError(f"{type(self).__name__} ended with status {self._process.returncode}")
        try:
            return self._answers()
        except OSError:
            return False

    def _running(self) -> Process:
        if self._process is None:
            raise ServerError(f"{type(self).__name__} has not been started")
        return self._process

    def _port(self) -> int:
        self._ports.append(claim_port())
        return self._ports[-1]

    def _release_ports(self) -> None:
        while self._ports:
            release_port(self._ports.pop())

    def _program(self, name: str, *folders: str) -> str:
        """The path of a program of this server. Raises `ServerError` naming the package to install."""
        path = find_program(name, *folders)
        if path is None:
            raise ServerError(f"{name} is not installed: apt-get install {self.package}")
        return path


def start_all(*servers: Server) -> None:
    """Start servers side by side; when one fails, stop them all and raise its error."""
    with ThreadPoolExecutor(max_workers=max(1, len(servers))) as pool:
        futures: list[Future[Server]] = [pool.submit(server.start) for server in servers]
    errors = [error for future in futures if (error := future.exception())]
    if errors:
        for server in servers:
            server.close()
        raise errors[0]


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for server in list(_servers):
        if server._owner == os.getpid():  # a forked child must not end its parent's servers
            server.close()
