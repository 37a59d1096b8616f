"""A `dnsworker` command in this process, for the many of which only matters what they do and say.

Separate from the programs, which live for themselves: a process for each command spends a second on imports.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from click.testing import CliRunner

from dnsworker.cli import cli
from dnsworker.cli.program import INTERRUPTED

#: One at a time: environment and output are the whole process's.
_turn = threading.Lock()


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    #: Both, in the order in which they were written.
    both: str


def run_here(arguments: Sequence[str], env: Mapping[str, str]) -> Said:
    """Run one command as `python -m dnsworker` would, with `env` for its environment.

    What a command doesn't foresee is raised here, and so is a Ctrl-C.
    """
    with _turn:
        others = {name: None for name in os.environ if name not in env}
        result = CliRunner().invoke(
            cli, list(arguments), prog_name="dnsworker", env={**others, **env}, catch_exceptions=False
        )
    if result.exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    return Said(result.exit_code, result.stdout, result.stderr, result.output)
