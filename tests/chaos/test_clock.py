"""A clock that is stepped from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chaos.clock import Clock
from dev.program import ROOT

CODE = """
import sys, time
from pathlib import Path
from chaos.clock import Clock
real, begun = time.time, time.monotonic()
Clock(Path(sys.argv[1]), "worker-1").install()
while True:
    print(round(time.time() - real()), round(time.monotonic() - begun) < 60, flush=True)
    if not sys.stdin.readline():
        break
"""


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_the_wall_clock_steps_and_the_monotonic_one_does_not(tmp_path: Path, ahead_s: float) -> None:
    clock = Clock(tmp_path, "worker-1")
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "0 True\n"
        clock.step(ahead_s)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{ahead_s:.0f} True\n"
        process.stdin.close()
