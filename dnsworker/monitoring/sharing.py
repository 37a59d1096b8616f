"""The counts of a worker's child processes (Celery's prefork pool), which its one server tells as one.

Each child counts in files of its own, mapped into its memory (`prometheus_client.multiprocess`): what a
killed child had counted stays. The folder is the worker's own. What children leave behind that have ended
is added up into one file, so that it doesn't grow; and what a killed worker leaves behind is removed by the
next one that starts.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

PREFIX = "dnsworker-metrics-"
LOCK = "lock"
#: The sum of the children that are gone, in the place of a process id.
GONE = "gone"


def share_with_children(parent_folder: Path | None = None) -> CollectorRegistry:
    """Have all counts of this process and of those that it forks shared; call it before the first count.

    Returns the registry that tells them all.
    """
    parent_folder = parent_folder or Path(tempfile.gettempdir())
    remove_left_behind(parent_folder)
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent_folder))
    # Held by this process and its children, for as long as one of them lives; and from before it has the name
    # under which others look whether it is.
    fcntl.flock(os.open(made / LOCK, os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)
    folder = made.rename(made.with_name(made.name.removeprefix(".")))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # the library has no other way to be told
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(Shared(folder))
    return registry


def remove_left_behind(parent_folder: Path) -> None:
    """Remove the folders of workers that were killed, children and all."""
    for folder in parent_folder.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR)
        except OSError:  # being made or removed at this moment, or somebody else's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


class Shared(Collector):
    """What the processes that share a folder have counted, together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        with self._guard:
            for kind in ("counter", "histogram"):
                self._add_up_gone(kind)
            collector = MultiProcessCollector(None, path=str(self._folder))  # type: ignore[no-untyped-call]
            return list(collector.collect())  # type: ignore[no-untyped-call]

    def _add_up_gone(self, kind: str) -> None:
        gone = [path for path in self._folder.glob(f"{kind}_*.db") if not _is_alive(path)]
        if not gone:
            return
        sums: dict[str, float] = defaultdict(float)
        for path in gone:
            for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                sums[key] += value
        kept = MmapedDict(str(self._folder / f"{kind}_{GONE}.db"))  # type: ignore[no-untyped-call]
        try:
            for key, value in sums.items():
                before, _ = kept.read_value(key)  # type: ignore[no-untyped-call]
                kept.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
        finally:
            kept.close()  # type: ignore[no-untyped-call]
        for path in gone:
            path.unlink()


def _is_alive(path: Path) -> bool:
    """Whether the process that counts in this file may still do so."""
    process = path.stem.partition("_")[2]
    if process == GONE:
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, under the number of one of ours
        return False
    return True
