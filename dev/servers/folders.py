"""Temporary folders that go even when their owner couldn't remove them: by the next run, after a kill -9."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "dnsworker-run-"
#: A younger folder may be one whose owner hasn't locked it yet.
MINIMUM_AGE_S = 60

_locks: dict[Path, int] = {}


def make_folder(name: str) -> Path:
    """A new folder, ours (by a lock on the folder itself) until `remove_folder` or our end."""
    _remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-"))
    _locks[folder] = _lock(folder)
    return folder


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder in _locks:
        os.close(_locks.pop(folder))


def _remove_orphans() -> None:
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            if folder in _locks or time.time() - folder.stat().st_mtime < MINIMUM_AGE_S:
                continue
            descriptor = _lock(folder)
        except OSError:  # somebody's who lives, or another user's, or gone meanwhile
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
