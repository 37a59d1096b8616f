"""An operator's own program, run for one zone: without a shell, with an end, and with its words kept.

Separate because it is the only thing here that starts a process.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dnsworker.errors import Busy, ServerFailure, Unreachable, Unsupported
from dnsworker.names import Name
from dnsworker.settings import ENV_PREFIX

#: A name that no program takes for an option and no shell on another machine for more than a name.
_HARMLESS = re.compile(r"[a-z0-9_][a-z0-9_./-]*")
#: Of what a command says; the rest is in the middle and left out.
_TOLD_CHARACTERS = 400


class Refused(Exception):
    """The command ended with status 1. Never leaves this package."""


class Command:
    """`words` as pools.yaml has them; `name` is the option, for messages.

    `announce` is called just before each run.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        timeout_s: float,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._words = words
        self._timeout_s = timeout_s
        self._announce = announce

    def __bool__(self) -> bool:
        return bool(self._words)

    def raise_if_unsafe(self, zone: Name) -> None:
        """Before anything is written. Raises `Unsupported` for a name that a program could misread."""
        plain = zone.removesuffix(".")
        if any("{zone}" in word for word in self._words) and not _HARMLESS.fullmatch(plain):
            raise Unsupported(
                f"{self._name} of this target names the zone, and {plain} can't be handed to a program "
                "safely; use {file} instead of {zone}",
                zone=zone,
            )

    def raise_if_missing(self) -> None:
        """Raises `Unreachable` where there is no such program."""
        if self._words and shutil.which(self._words[0]) is None:
            raise Unreachable(f"{self._name}: there is no program {self._words[0]} that can be run")

    def run(self, zone: Name, file: Path) -> None:
        """Raises `Refused` (status 1), `ServerFailure` (any other), `Busy` (time-out), `Unreachable`."""
        self._announce()
        plain = zone.removesuffix(".")
        argv = [word.replace("{zone}", plain).replace("{file}", str(file)) for word in self._words]
        # Not a pipe: a program that it leaves behind would keep that open, and us waiting.
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the operator's own words, no shell
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=file.parent,
                    env={key: value for key, value in os.environ.items() if not key.startswith(ENV_PREFIX)},
                    start_new_session=True,
                )
            except OSError as exc:
                raise Unreachable(
                    f"{self._name}: {self._words[0]} can't be run: {exc.strerror}", zone=zone
                ) from exc
            try:
                status = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired as exc:
                raise Busy(
                    f"{self._name} did not end within {self._timeout_s:g} s: {_told(output.fileno())}",
                    zone=zone,
                ) from exc
            finally:
                _end(process)
            if status == 0:
                return
            words = f"{self._name} ended with status {status}: {_told(output.fileno())}"
        if status == 1:
            raise Refused(words)
        raise ServerFailure(words, zone=zone)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and what it started, if it is still there."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _told(descriptor: int) -> str:
    """What the command said, on one line: its beginning and its end."""
    size = os.fstat(descriptor).st_size
    start = os.pread(descriptor, 4096, 0)
    end = os.pread(descriptor, 4096, max(4096, size - 4096))
    both = start + (b" \xe2\x80\xa6 " if size > 8192 else b"") + end
    text = " ".join(both.decode("utf-8", "replace").split())
    text = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    if len(text) > 2 * _TOLD_CHARACTERS:
        text = f"{text[:_TOLD_CHARACTERS]} … {text[-_TOLD_CHARACTERS:]}"
    return text or "it said nothing"
