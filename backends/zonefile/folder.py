"""The files of one folder: read, replaced as a whole, removed, and locked while that is done.

Separate from the backend, which knows zones and plans; here a zone is octets. Beside `example.org.zone` there
may be two hidden files: `.example.org.zone.new`, what is being written, and `.example.org.zone.lock`, locked
(flock) by whoever writes. A lock file that isn't empty says that the reload command is still due.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dnsworker.errors import AuthenticationFailed, BackendError, Busy, Unreachable
from dnsworker.names import Name

#: Octets in a file's name at most (ext4, XFS, NFS), and what a hidden file adds to a zone's.
_LONGEST_NAME = 255
_HIDDEN_OCTETS = len("..lock")
_LOOK_AGAIN_S = 0.01
#: For a file that is new; one that is replaced hands its own on. Servers run under other accounts.
_MODE = 0o644
_NOTE = b"the reload command is due: it has not succeeded since the file was last changed\n"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EAGAIN})


class ZoneFolder:
    """Every method raises `BackendError`s only."""

    def __init__(self, path: Path, suffix: str, *, timeout_s: float) -> None:
        self.path = path
        self._suffix = suffix
        self._timeout_s = timeout_s

    def file(self, zone: Name) -> Path:
        return self.path / file_name(zone, self._suffix)

    def read(self, zone: Name) -> bytes | None:
        """What the zone's file holds; None when the folder is there and the file isn't."""
        name = file_name(zone, self._suffix)
        with self._opened() as folder:
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise Unreachable(f"{self.path / name} is no file", zone=zone)
            with os.fdopen(descriptor, "rb") as file:
                return file.read()

    def is_reload_due(self, zone: Name) -> bool:
        """Whether the lock file says so. Certain only for whoever holds the lock."""
        with self._opened() as folder:
            try:
                return os.stat(self._hidden(zone, "lock"), dir_fd=folder).st_size > 0
            except FileNotFoundError:
                return False

    def is_untouched(self, zone: Name) -> bool:
        """Whether there is neither the zone's file nor a lock."""
        names = (file_name(zone, self._suffix), self._hidden(zone, "lock"))
        with self._opened() as folder:
            return not any(_exists(name, folder) for name in names)

    @contextmanager
    def locked(self, zone: Name) -> Iterator[Lock]:
        """Raises `Busy` where another process or thread has it for longer than the time-out."""
        name = self._hidden(zone, "lock")
        with self._opened() as folder:
            lock = Lock(self._lock(folder, name, zone), self.path / name)
        try:
            yield lock
        finally:
            try:
                if not lock.is_reload_due:
                    self._tidy(zone, name)
            finally:
                os.close(lock.descriptor)  # which gives the lock up

    def prepare(self, zone: Name, octets: bytes) -> Path:
        """Write what `put_in_place` or `discard` ends; for whoever holds the lock. Gives its path."""
        name, temporary = file_name(zone, self._suffix), self._hidden(zone, "new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            with self._opened() as folder:
                descriptor = os.open(temporary, flags, _MODE, dir_fd=folder)
                with os.fdopen(descriptor, "wb") as file:
                    os.fchmod(descriptor, _mode_of(name, folder))
                    file.write(octets)
                    file.flush()
                    os.fsync(descriptor)
        except BaseException:
            self.discard(zone)
            raise
        return self.path / temporary

    def put_in_place(self, zone: Name) -> None:
        """The file as a whole or not at all."""
        with self._opened() as folder:
            name = file_name(zone, self._suffix)
            os.rename(self._hidden(zone, "new"), name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def discard(self, zone: Name) -> None:
        """What `prepare` wrote; failing is no error, since the next one writes over it."""
        with contextlib.suppress(BackendError, FileNotFoundError), self._opened() as folder:
            os.unlink(self._hidden(zone, "new"), dir_fd=folder)

    def remove(self, zone: Name) -> None:
        """No error when it is absent; for whoever holds the lock."""
        with self._opened() as folder:
            for name in (file_name(zone, self._suffix), self._hidden(zone, "new")):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            os.fsync(folder)

    def raise_if_closed(self) -> None:
        """Whether files can be made, replaced and removed here."""
        name = f".dnsworker-{os.urandom(4).hex()}.check"
        with self._opened() as folder:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE, dir_fd=folder))
            os.unlink(name, dir_fd=folder)

    def _hidden(self, zone: Name, purpose: str) -> str:
        return f".{file_name(zone, self._suffix)}.{purpose}"

    def _tidy(self, zone: Name, lock_name: str) -> None:
        """Remove the lock of a zone without a file: whoever waits for it notices, and makes another."""
        with contextlib.suppress(BackendError), self._opened() as folder:
            if not _exists(file_name(zone, self._suffix), folder):
                os.unlink(lock_name, dir_fd=folder)

    def _lock(self, folder: int, name: str, zone: Name) -> int:
        deadline = time.monotonic() + self._timeout_s
        while True:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _MODE, dir_fd=folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(descriptor, name, folder):
                    return descriptor
            except BlockingIOError as exc:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise Busy(f"another worker holds {self.path / name}", zone=zone) from exc
                time.sleep(_LOOK_AGAIN_S)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder itself, so that a file's absence is never that of the folder."""
        with translate_errors(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Lock:
    """A zone's lock, held."""

    descriptor: int
    path: Path

    @property
    def is_reload_due(self) -> bool:
        return os.fstat(self.descriptor).st_size > 0

    def note_reload(self) -> None:
        """Before the file is changed, so that no crash loses it."""
        with translate_errors(self.path):
            os.pwrite(self.descriptor, _NOTE, 0)
            os.fsync(self.descriptor)

    def clear_reload(self) -> None:
        with translate_errors(self.path):
            os.ftruncate(self.descriptor, 0)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """The file system's errors as a target's; `path` is what they are about if they don't say."""
    try:
        yield
    except OSError as exc:
        name = exc.filename if isinstance(exc.filename, str) else ""  # of a descriptor it is a number
        words = f"{path / name}: {exc.strerror}"
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise AuthenticationFailed(f"{words}; the worker's account must be able to write there") from exc
        if exc.errno in _FULL:
            raise Busy(words) from exc
        raise Unreachable(f"{words}; is the folder there, and mounted?") from exc


def file_name(zone: Name, suffix: str) -> str:
    """`example.org.zone`; what can't stand in a file name is %XX, and a long name ends in ~ and a hash.

    No two zones share one: neither % nor ~ stands for itself.
    """
    stem = "".join(
        char if char in "abcdefghijklmnopqrstuvwxyz0123456789-_." else f"%{ord(char):02x}"
        for char in zone.removesuffix(".")
    )
    longest = _LONGEST_NAME - _HIDDEN_OCTETS - len(suffix)
    if len(stem) > longest:
        stem = f"{stem[: longest - 33]}~{hashlib.sha256(zone.encode()).hexdigest()[:32]}"
    return stem + suffix


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_still(descriptor: int, name: str, folder: int) -> bool:
    """Whether the lock that we hold is the one that others will find (see `forget`)."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=folder))
    except FileNotFoundError:
        return False


def _mode_of(name: str, folder: int) -> int:
    try:
        return stat.S_IMODE(os.stat(name, dir_fd=folder).st_mode)
    except FileNotFoundError:
        return _MODE
