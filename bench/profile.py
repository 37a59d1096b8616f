"""Where the workers' time goes, as flame graphs: py-spy looks at each of them while something is measured.

Its looks cost time themselves, so a run that is profiled is none for the table.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import processes
from dev.servers.process import Process, wait_until
from dev.stack import Stack

LOOKS_PER_SECOND = 100
WRITE_WITHIN_S = 60.0
_TITLE = re.compile(r'(<text id="title"[^>]*>)[^<]*')


def folder(text: str) -> Path:
    """An argument: where the pictures go. Refused when there is nothing to make them with."""
    if not shutil.which("py-spy"):
        raise argparse.ArgumentTypeError("py-spy isn't installed: pip install py-spy")
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"can't write to {text}: {exc.strerror}") from exc
    return path


@contextmanager
def recording(stack: Stack, to: Path | None, name: str) -> Iterator[dict[Path, float]]:
    """Meanwhile every worker is looked at; `<name>-<worker>.svg` each. Without a folder, nothing.

    At the end what was yielded holds the pictures, with the CPU seconds that each one's process has used.
    """
    pictures: dict[Path, float] = {}
    with ExitStack() as ending:
        for worker in stack.workers if to else ():
            assert to
            picture = (to / f"{name}-{worker.name}.svg").absolute()
            picture.unlink(missing_ok=True)
            ending.callback(_end, _start(stack, worker.pid, picture), picture)
            pictures[picture] = -processes.family_s(worker.pid)
        yield pictures
        for worker, picture in zip(stack.workers, pictures, strict=False):
            pictures[picture] += processes.family_s(worker.pid)


def _start(stack: Stack, pid: int, picture: Path) -> Process:
    command = [
        "py-spy",
        "record",
        "--pid",
        str(pid),
        "--rate",
        str(LOOKS_PER_SECOND),
        "--gil",  # else threads that wait are in the picture, and little else
        "--output",
        str(picture),
    ]
    log = stack.folder / f"{picture.stem}.log"
    return Process(command, log_path=log, stop_signal=signal.SIGINT)  # it writes the picture then


def _end(recorder: Process, picture: Path) -> None:
    recorder.stop(WRITE_WITHIN_S)
    wait_until(picture.exists, 1.0, f"py-spy to write {picture.name}: {recorder.tail()}")
    # Its title is the command, with paths of this machine.
    text = picture.read_text(encoding="utf-8")
    picture.write_text(_TITLE.sub(rf"\g<1>{picture.stem}", text, count=1), encoding="utf-8")
