"""A short run of `python -m chaos`: every promise is kept; the same seed breaks the same things."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.__main__ import main
from chaos.faults import FAULTS
from chaos.nemesis import Step, draw
from dev.program import ROOT

KEPT, REFUSED = 0, 2


def test_a_short_run_breaks_no_promise(tmp_path: Path) -> None:
    plot = tmp_path / "timeline.svg"
    arguments = ("--seed", "7", "--duration", "15", "--faults", "kill,database,target", "--plot", str(plot))
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == KEPT, done.stdout + done.stderr
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert rows["seed"] == "7"
    assert rows["violations"] == "0"
    assert int(rows["faults"].split()[0]) >= 2
    assert "ACTIVE" in rows["operations"]
    assert rows["timeline"] == str(plot)
    assert plot.read_text().startswith("<svg")


def test_a_seed_gives_the_same_faults_again() -> None:
    assert _first(7) == _first(7)
    assert _first(7) != _first(8)


def test_no_fault_is_left_out() -> None:
    drawn = {fault.name for step in _first(7) for fault in step.faults}
    assert drawn == set(FAULTS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--faults", "kill,flood"), "there is no fault 'flood'"),
        (("--faults", ""), "there is no fault ''"),
        (("--duration", "0"), "'0' is not a number of seconds"),
        (("--duration", "nan"), "'nan' is not a number of seconds"),
        (("--seed", "-1"), "'-1' is not a whole number"),
        (("--sabotage", "everything"), "invalid choice: 'everything'"),
        (("--plot", "no/such/folder/file"), "'no/such/folder' is not a folder"),
        (("--logs", "no/such/folder"), "'no/such/folder' is not a folder"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    arguments: tuple[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["chaos", *arguments])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == REFUSED
    said = capsys.readouterr()
    assert words in said.err.splitlines()[-1]
    assert not said.out


def _first(seed: int) -> list[Step]:
    return list(itertools.islice(draw(seed, list(FAULTS)), len(FAULTS)))
