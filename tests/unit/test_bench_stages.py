"""Flame graphs as a table of stages: every stage is there to be found, and the shares come to the whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.worker import loops

from bench.stages import REST, STAGES, samples, times_us, to_markdown
from dev.program import ROOT

PICTURE = """<svg>
<title>all (200 samples, 100%)</title>
<title>Examiner.record (dnsworker/examination.py:101) (60 samples, 30.00%)</title>
<title>Examiner.record (dnsworker/examination.py:117) (20 samples, 10.00%)</title>
<title>Runtime._settled.&lt;locals&gt;.tell (dnsworker/runtime.py:290) (30 samples, 15.00%)</title>
<title>Claiming.gather (dnsworker/claiming.py:142) (1 sample, 0.50%)</title>
</svg>"""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "worker.svg"
    path.write_text(PICTURE)
    return path


def _functions(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{node.name}"
            yield from _functions(node.body, f"{prefix}{node.name}.<locals>.")


def test_every_stage_is_made_of_functions_that_there_are() -> None:
    files = [file for folder in ("dnsworker", "tasks", "backends") for file in (ROOT / folder).rglob("*.py")]
    known = {name for file in files for name in _functions(ast.parse(file.read_text()).body)}
    known.add(loops.asynloop.__name__)
    wanted = {name for stage in STAGES for name in (*stage.functions, *stage.without)}
    assert wanted <= known


def test_lines_of_a_function_are_counted_together(picture: Path) -> None:
    total, by_function = samples(picture)
    assert total == 200
    assert by_function["Examiner.record"] == 80
    assert by_function["Runtime._settled.<locals>.tell"] == 30


def test_the_time_of_a_process_is_shared_out_by_what_was_seen(picture: Path) -> None:
    found = times_us({picture: 2.0}, changes=1000)
    assert found["verification: write down, end operations"] == pytest.approx(500)
    assert found["outcomes: log, Redis, count"] == pytest.approx(300)
    assert found["delivery: claim and read"] == pytest.approx(10)
    assert found[REST] == pytest.approx(1190)
    assert sum(found.values()) == pytest.approx(2000)


def test_the_table_has_all_stages_and_their_sum(picture: Path) -> None:
    text = to_markdown({"changes.one": times_us({picture: 2.0}, changes=1000)}, "two cores")
    assert "| µs of CPU time | record changes in one zone |" in text
    assert "| outcomes: log, Redis, count | 300 |" in text
    assert "| all of it | 2000 |" in text
