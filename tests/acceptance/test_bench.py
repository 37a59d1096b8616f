"""The measurements run from a plain checkout and say what they found; what it comes to isn't judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import (
    bulk,
    command,
    dead,
    growth,
    growth_plot,
    hybrid,
    latency,
    memory,
    outage,
    rates,
    raw,
    refill,
    scale,
    second,
)
from bench.__main__ import Part, Results
from bench.__main__ import measure as measure_all
from bench.command import Measured, NothingMeasured
from bench.figures import Figures
from bench.goals import GOALS
from bench.serving import Resolver
from bench.system import System, a_system
from dev.program import ROOT
from dev.servers import PostgreSQL, Process, RabbitMQ, Redis, tree
from dev.servers.process import wait_until
from dnsworker.reports.system import show_status

MET, NOT_MET, REFUSED = 0, 1, 2
SVG = "{http://www.w3.org/2000/svg}"


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a measurement's command in this process. `python -m bench`, below, is one that runs by itself."""
    monkeypatch.setattr(command, "stop_in_order", lambda: None)  # signals are for pytest

    def run(module: ModuleType, *arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
        capsys.readouterr()
        try:
            status = module.main()
        except SystemExit as exc:  # argparse's
            status = exc.code
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def shared(rabbitmq: RabbitMQ, postgresql: PostgreSQL, redis: Redis) -> dict[str, Any]:
    return {"rabbitmq": rabbitmq, "database": postgresql, "redis": redis}


@pytest.fixture(scope="module")
def system(shared: dict[str, Any]) -> Iterator[System]:
    """What each measurement has to itself in `make bench`; here they take turns."""
    with a_system(**shared) as system:
        yield system


def test_one_short_round_of_the_hybrid_pool_prints_its_table(
    run: Run, shared: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hybrid, "a_hybrid", partial(hybrid.a_hybrid, **shared))
    monkeypatch.setattr(hybrid, "ZONES", hybrid.ZONES[:8])
    monkeypatch.setattr(hybrid, "PER_SECOND", 1)  # so few are a backlog, too
    monkeypatch.setattr(hybrid, "SETTINGS", {"DNSWORKER_RETRY_CAP_S": "1"})
    found = tmp_path / "figures.json"
    done = run(hybrid, "--rounds", "1", "--changes", "2", "--json", str(found))
    assert done.returncode in (MET, NOT_MET), done.stderr
    header, healthy, faulty, verdict = done.stdout.splitlines()
    assert header.split() == ["samples", "median", "p95"]
    assert healthy.split()[:2] == ["healthy", "2"]
    assert faulty.split()[:2] == ["faulty", "2"]
    assert verdict.endswith(": not met" if done.returncode else ": met")
    figures = json.loads(found.read_text())
    assert figures["is_met"] is (figures["ratio"] <= figures["goal"])


def test_a_wiped_server_is_filled_again_while_changes_are_timed(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill, "LIVE", refill.LIVE[:2])
    with refill.a_bench("bind", 4, **shared) as bench, Resolver(bench.server) as resolver:
        created_in_s = bench.create_zones()
        before = Figures.of(bench.time_changes(resolver, 2))
        during, refilled_in_s = bench.time_refill(resolver)
        assert all(resolver.has(f"zone{number}.test.") for number in range(4))
        found = refill.FoundRefill(before, Figures.of(during), 4, created_in_s, refilled_in_s, bench.load)
    header, *rows, back, load, verdict = found.to_text().splitlines()
    assert header.split() == ["samples", "median", "p95"]
    assert [row.split()[0] for row in rows] == ["before", "during"]
    assert back.startswith("4 zones made in ")
    assert "worker-2" in load
    assert verdict.startswith("ratio of the medians ")
    assert json.loads(json.dumps(found.to_json()))["is_met"] is (found.ratio <= refill.GOAL)


def test_a_target_that_comes_back_catches_up_while_changes_are_timed(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "LIVE", outage.LIVE[:2])
    monkeypatch.setattr(outage, "SPREAD_S", 1.0)
    with outage.a_bench(**shared) as (bench, healthy), Resolver(healthy) as resolver:
        before = Figures.of(bench.time_changes(resolver, 2))
        bench.let_backlog_grow(20)
        away = Figures.of(bench.time_changes(resolver, 2))
        back, caught_up_in_s = bench.time_return(resolver, 20)  # which counts the zones
        found = outage.FoundOutage(before, away, Figures.of(back), 20, caught_up_in_s, bench.load)
    _, *rows, caught_up, load, verdict = found.to_text().splitlines()
    assert [row.split()[0] for row in rows] == ["before", "away", "back"]
    assert caught_up.startswith("20 zones caught up with in ")
    assert "worker-2" in load
    assert verdict.startswith("ratio of the medians away : before ")
    assert json.loads(json.dumps(found.to_json()))["is_met"] is (found.ratio <= outage.GOAL)


def test_a_database_is_filled_and_its_sweep_and_status_are_timed(postgresql: PostgreSQL) -> None:
    with scale.a_bench(postgresql) as bench:
        found = scale.measure(bench, 200, 2)
        with bench.engine.connect() as connection:
            status = show_status(connection)
    assert status["zones"] == {"DEGRADED": 200}
    assert [one["backlog"] for one in status["targets"]] == [0, 200]
    assert {row.key for row in found.rows} == {"scale.sweep", "scale.status"}
    assert "at rest" in found.to_text()


def test_changes_are_timed_as_zones_grow_and_get_more(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "LIVE", growth.LIVE[:2])
    monkeypatch.setattr(growth, "IDLE_S", 0.5)
    found = growth.measure([3, 30], [5, 8], 4, 1, **shared)
    assert len(found.records[30].cost_ms["workers"]) == 1
    assert len(found.zones[8].active_ms) >= len(growth.LIVE)
    assert {row.key for row in found.rows} == {"growth.records", "growth.zones"}
    document = json.loads(json.dumps(found.to_json()))
    assert set(document["zones"]) == set(document["beside"]) == {"5", "8"}
    picture = growth_plot.svg("What a change costs", list(found.panels()))
    assert len(ElementTree.fromstring(picture).findall(f".//{SVG}polyline")) == (4 + 2) + (5 + 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rounds", "0"), "'0' is not a whole number from 1 to 1000"),
        (("--changes", "2.5"), "'2.5' is not a whole number from 1 to 1000"),
        (("--json", "no/such/folder/figures.json"), "can't write no/such/folder/figures.json"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    run: Run, arguments: tuple[str, str], words: str
) -> None:
    done = run(hybrid, *arguments)
    assert done.returncode == REFUSED
    assert words in done.stderr.splitlines()[-1]
    assert not done.stdout


def test_rates_are_measured_beside_plain_updates(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "ZONES", 3)
    monkeypatch.setattr(rates, "WARM_UP", 1)
    measured = rates.measure(rates.Bench(system, unfinished=20), seconds=1, zones=2)
    assert keys(measured) == {"changes.zones", "changes.one", "zones", "cpu", "memory.all"}
    for row in measured.rows:
        assert row.figure > 0
        assert (row.raw or 0) > 0 or row.key in {"cpu", "memory.all"}
    cpu = measured.details["changes.zones: CPU for 1,000 changes, s"]
    assert {"workers", "RabbitMQ", "PostgreSQL", "Bind", "Redis", "submitters"} == set(cpu)
    assert cpu["workers"] > 0 < cpu["submitters"]


def test_one_change_after_the_other_is_timed(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "ZONES", latency.ZONES[:2])
    monkeypatch.setattr(latency, "WARM_UP", 1)
    measured = latency.measure(system, changes=2, zones=1)
    assert keys(measured) == {key for key in GOALS if key.startswith(("change.", "zone."))}
    assert "one rndc addzone" in measured.to_text()


def test_memory_is_looked_at_on_the_way_and_the_table_says_that_it_was_too_little(
    run: Run, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ZONES", memory.ZONES[:2])
    monkeypatch.setattr(memory, "a_system", lambda **_: nullcontext(system))
    file = tmp_path / "figures.json"
    done = run(memory, "--changes", "40", "--unfinished", "20", "--json", str(file))
    assert done.returncode == NOT_MET, done.stderr
    document = json.loads(file.read_text())
    assert {row["key"] for row in document["rows"]} == {"memory", "memory.flat"}
    assert all(GOALS[key].words in done.stdout for key in ("memory", "memory.flat"))
    seen = document["details"]["MB after so much"]
    assert list(seen) == ["0 %", "10 %", "50 %", "100 %"]
    assert all(set(one) == {"worker-1", "worker-2"} for one in seen.values())
    results = Results(document["machine"], "today", {"memory": document}, {}, is_toy=True)
    assert results.status == NOT_MET
    assert [row for row in _rows(results.to_markdown()) if "open: it is for 1,000,000" in row]


@pytest.mark.parametrize("server", ["bind", "powerdns"])
def test_large_changes_are_measured_beside_plain_ones(
    server: str, shared: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    with ExitStack() as ending:
        system = (
            request.getfixturevalue("system")
            if server == "bind"
            else ending.enter_context(a_system(server, **shared))
        )
        client = ending.enter_context(bulk.a_client(system))
        measured = bulk.measure(bulk.Bench(system, client, server), rrsets=150, rounds=1, records=200)
    suffix = "" if server == "bind" else ".powerdns"
    names = {"bulk.change", "bulk.import", "bulk.import.rate"}
    assert keys(measured) == {name + suffix for name in names}
    assert not measured.is_met or server == "powerdns"  # what was small is no proof


def test_a_dead_target_is_measured_in_turns_with_none(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "ALONE", dead.ALONE[:2])
    monkeypatch.setattr(dead, "PAIR", dead.PAIR[:2])
    monkeypatch.setattr(dead, "WARM_UP", 1)
    with dead.a_bench(unfinished=20, **shared) as bench:
        measured = dead.measure(bench, seconds=1, rounds=1)
    assert keys(measured) == {"dead"}


def test_a_second_worker_is_measured_in_turns_with_none(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second, "ZONES", second.ZONES[:2])
    monkeypatch.setattr(second, "WARM_UP", 1)
    monkeypatch.setattr(second, "BUSY", 0.0)  # here nothing is the bottleneck
    with a_system(workers=1, **shared) as system:
        bench = second.Bench(system, percent=50, unfinished=20)
        measured = second.measure(bench, seconds=1, rounds=1)
        cores = sorted(os.sched_getaffinity(0))
        assert os.sched_getaffinity(system.stack.workers[0].pid) == {cores[0]}
    monkeypatch.setattr(second, "BUSY", 9.0)
    with pytest.raises(NothingMeasured, match="it wasn't the bottleneck"):
        bench.raise_unless_bottleneck()
    assert keys(measured) == {"second"}


def test_a_result_that_is_wrong_has_no_rate(system: System) -> None:
    system.create_zones(["wrong.test."])
    system.check()
    system.submitted += 1  # one that nobody has taken in
    with pytest.raises(NothingMeasured, match="operations were submitted, and the database has"):
        system.check()
    system.submitted -= 1
    with raw.Updates(system.stack.bind) as updates:
        updates.add("wrong.test.", raw.new_records("wrong.test.", 1))
    with pytest.raises(NothingMeasured, match=r"wrong.test.: 2 RRsets of 2 differ at Bind"):
        system.check()
    system.zones.remove("wrong.test.")


def test_a_process_is_held_to_its_share_and_goes_on_afterwards(tmp_path: Path) -> None:
    spinning = Process([sys.executable, "-c", "while True: pass"], log_path=tmp_path / "spinning.log")
    try:
        before_s = second.used_s(spinning.pid)
        with second.Throttle([spinning.pid], 1).on():
            family = tree.family(spinning.pid)
            wait_until(lambda: second.used_s(spinning.pid) > before_s + 0.03, 60, "it to be continued")
            wait_until(lambda: tree.are_frozen(family), 30, "it to be stopped")
        wait_until(lambda: not tree.are_frozen(family), 10, "it to go on")
    finally:
        spinning.kill()


def test_all_parts_come_to_one_table(tmp_path: Path) -> None:
    """Of the command line: `scale` needs the fewest servers."""
    line = [sys.executable, "-m", "bench", "scale", "--toy", "--to", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode in (MET, NOT_MET), done.stderr
    table = (tmp_path / "table.md").read_text()
    assert len(_rows(table)) == 2 + len(GOALS)
    assert "- Toy sizes: no figure here means anything." in table.splitlines()
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert {row["key"] for row in document["rows"]} == {"scale.sweep", "scale.status"}
    assert done.returncode == (MET if document["parts"]["scale"]["is_met"] else NOT_MET)


def _rows(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("| ")]


def test_a_part_that_fails_leaves_its_rows_open(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Part("memory", ("--changes", "none"))
    results = measure_all([failing], as_toy=False)
    assert results.status == REFUSED
    assert "'none' is not a whole number" in results.failures["memory"]
    assert "not measured" in results.to_markdown()


def keys(measured: Measured) -> set[str]:
    assert json.loads(json.dumps(measured.to_json()))["rows"]
    assert all(row.goal.words in measured.to_text() for row in measured.rows)
    return {row.key for row in measured.rows}
