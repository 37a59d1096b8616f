"""When a measured figure meets its goal, and how the table shows it."""

from __future__ import annotations

import pytest

from bench.__main__ import HEADER, Results
from bench.goals import GOALS, Row, number, to_text
from bench.submitters import NAMES, SUBMITTERS, UNFINISHED, Done, Work, _numbers, address


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("cpu", 1.3), "met"),
        (Row("cpu", 1.31), "not met"),
        (Row("zones", 200.0), "met"),
        (Row("zones", 199.0), "not met"),
        (Row("changes.one", 1600.0, raw=1500.0), "met"),
        (Row("changes.one", 1600.0, raw=1700.0), "not met"),  # fast enough, and slower than the simplest
        (Row("changes.one", 1600.0), "not met"),  # nothing to compare with
        (Row("memory.all", 500.0), "—"),  # no goal
        (Row("memory", 100.0, moot="it is for more"), "open: it is for more"),
        (Row("memory", 121.0, moot="it is for more"), "not met"),
    ],
)
def test_a_verdict_follows_from_bounds_and_from_what_is_beside_it(row: Row, verdict: str) -> None:
    assert row.verdict == verdict
    assert row.is_met is (verdict in ("met", "—"))
    assert to_text([row]).splitlines()[1].endswith(verdict)


def test_the_table_has_a_row_for_every_goal_in_its_order() -> None:
    measured = Row("changes.one", 1600.0, raw=1000.0, raw_words="a loop").to_json()
    document = {"rows": [measured], "is_met": True, "settings": {"PostgreSQL": "fsync on"}}
    machine = {"cores": 2, "cpu": "fast", "memory_gb": 8.0, "load": 0.1, "versions": {"BIND": "9"}}
    results = Results(machine, "today", {"rates": document}, {"dead": "it lived"}, is_toy=False)
    header, *rows = results.table()
    assert header == HEADER
    assert [row[0] for row in rows] == [goal.words for goal in GOALS.values()]
    (row,) = (row for row in rows if row[-1] != "not measured")
    assert row[1:] == (
        "≥ 1,500/s, ≥ 1 × raw", "15.6/s", "16.9/s", "1,600/s", "1,000/s (a loop)", "1.60", "met",
    )  # fmt: skip
    text = results.to_markdown()
    assert "- `bench.rates`: PostgreSQL: fsync on." in text
    assert "- `bench.dead` measured nothing: it lived." in text
    assert results.status == 2


@pytest.mark.parametrize(
    ("value", "unit", "text"), [(1234.5, "/s", "1,234/s"), (12.34, "ms", "12.3 ms"), (0.987, "×", "0.99×")]
)
def test_a_number_has_the_digits_that_say_something(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text


@pytest.mark.parametrize("total", [1, 16, 200, 1003])
def test_submitters_share_a_total_without_rest(total: int) -> None:
    work = Work("zones", [f"z{number}.test." for number in range(total)], total=total)
    places = [
        number * SUBMITTERS + submitter
        for submitter in range(SUBMITTERS)
        for number in _numbers(work, submitter)
    ]
    assert sorted(places) == list(range(total))


def test_nothing_is_changed_again_while_it_may_be_unfinished() -> None:
    assert NAMES > UNFINISHED
    assert len({address(submitter, number) for submitter in (0, 15) for number in (0, 65535, 65536)}) == 6


def test_a_rate_is_of_all_the_time_until_the_last_has_ended() -> None:
    done = Done(100, 10.0, {"workers": 1.0, "submitters": 5.0}, [(2.0, 30), (5.0, 60), (10.0, 100)])
    assert done.rate == 10.0
    assert done.halves == (12.0, 8.0)
    assert done.system_cpu_s == 10.0  # for 1,000, the submitters apart
