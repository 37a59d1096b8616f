"""The measurements run from a plain checkout and say what they found; what it comes to isn't judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import outage, refill
from bench.figures import Figures
from bench.serving import Resolver
from dev.program import ROOT
from dev.servers import PostgreSQL, RabbitMQ, Redis

MET, NOT_MET, REFUSED = 0, 1, 2


def test_one_short_round_of_the_hybrid_pool_prints_its_table(tmp_path: Path) -> None:
    found = tmp_path / "figures.json"
    done = _bench("--rounds", "1", "--changes", "2", "--json", str(found))
    assert done.returncode in (MET, NOT_MET), done.stderr
    header, healthy, faulty, verdict = done.stdout.splitlines()
    assert header.split() == ["samples", "median", "p95"]
    assert healthy.split()[:2] == ["healthy", "2"]
    assert faulty.split()[:2] == ["faulty", "2"]
    assert verdict.endswith(": not met" if done.returncode else ": met")
    figures = json.loads(found.read_text())
    assert figures["is_met"] is (figures["ratio"] <= figures["goal"])


def test_a_wiped_server_is_filled_again_while_changes_are_timed(
    rabbitmq: RabbitMQ, postgresql: PostgreSQL, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill, "LIVE", refill.LIVE[:2])
    shared = {"rabbitmq": rabbitmq, "database": postgresql, "redis": redis}
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
    rabbitmq: RabbitMQ, postgresql: PostgreSQL, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "LIVE", outage.LIVE[:2])
    monkeypatch.setattr(outage, "SPREAD_S", 1.0)
    shared = {"rabbitmq": rabbitmq, "database": postgresql, "redis": redis}
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rounds", "0"), "'0' is not a whole number from 1 to 1000"),
        (("--changes", "2.5"), "'2.5' is not a whole number from 1 to 1000"),
        (("--json", "no/such/folder/figures.json"), "can't write no/such/folder/figures.json"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    arguments: tuple[str, str], words: str
) -> None:
    done = _bench(*arguments)
    assert done.returncode == REFUSED
    assert words in done.stderr.splitlines()[-1]
    assert not done.stdout


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.hybrid", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
