"""One private process: in a group of its own, ended by pid with all its children, never outliving its parent.

A stopped, killed or crashed parent takes its processes along (`PR_SET_PDEATHSIG`, through setpriv).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dev.servers import tree

#: Where Debian and others put server programs that are in nobody's PATH.
SERVER_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/usr/bin")

FREEZE_TIMEOUT_S = 5.0


class ServerError(Exception):
    """A private server can't be had: not installed, or it doesn't come up (with the tail of its log)."""


class Process:
    """A child process in a process group of its own, its output in `log_path`."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.log_path, self.stop_signal = log_path, stop_signal
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", orphan_signal.name.removeprefix("SIG")] if setpriv else []
        account = pwd.getpwnam(user) if user else None

        def spawn() -> subprocess.Popen[bytes]:
            with log_path.open("ab") as log:
                return subprocess.Popen(
                    [*guard, *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(os.environ if env is None else env),
                    cwd=cwd or log_path.parent,
                    start_new_session=True,  # a Ctrl-C in the terminal is for the parent, which stops us
                    user=account and account.pw_uid,
                    group=account and account.pw_gid,
                    extra_groups=[] if account else None,
                )

        self._popen = _spawner.submit(spawn).result(30)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within that time."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float = 15.0) -> None:
        """Ask it to end; after the grace, kill it. Returns when it and its children are gone."""
        family = tree.family(self.pid) if self.is_running else []
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                # A stopped process acts on no other signal before it is continued.
                self._popen.send_signal(self.stop_signal)
                tree.send(family, signal.SIGCONT)
            self.wait(grace_s)
        self._end(family)

    def kill(self) -> None:
        """SIGKILL to it and all its children, as the machine's death would."""
        self._end(tree.family(self.pid) if self.is_running else [])

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and locks and answers nobody."""
        family = tree.family(self.pid)
        tree.send(family, signal.SIGSTOP)
        wait_until(lambda: tree.are_frozen(family), FREEZE_TIMEOUT_S, "all threads to stop")

    def cont(self) -> None:
        tree.send(tree.family(self.pid), signal.SIGCONT)

    def tail(self, lines: int = 25) -> str:
        return tail(self.log_path, lines)

    def _end(self, family: list[tree.Member]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.is_running:
                os.killpg(self.pid, signal.SIGKILL)
        tree.send(family, signal.SIGKILL)
        self._popen.wait(10)
        tree.wait_gone(family, timeout_s=10)


def find_program(name: str, *folders: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join((*folders, *SERVER_FOLDERS)))


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Ask again and again until the condition holds. Raises `ServerError` after the time-out."""
    deadline, pause_s = time.monotonic() + timeout_s, 0.02
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.25)


def tail(path: Path, lines: int = 25) -> str:
    if not path.exists():
        return "(no log)"
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _new_spawner() -> None:
    """Fork children from one thread that lives as long as this process.

    The kernel sends a child its parent-death signal when the *thread* that forked it ends, so a server that
    a thread pool has started would die with that pool.
    """
    global _spawner
    _spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


_spawner: ThreadPoolExecutor
_new_spawner()
os.register_at_fork(after_in_child=_new_spawner)
