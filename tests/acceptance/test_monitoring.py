"""Metrics and health of a running system: right values under load, and through kills and outages.

One stack for all of it: two workers and beat that answer for themselves, and an exporter.
"""

from __future__ import annotations

import json
import os
import re
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange

from dev.program import Program
from dev.servers import Server
from dev.servers.ports import ADDRESS, claim_port
from dev.stack import Stack
from dnsworker import Client, OperationFailed
from dnsworker.monitoring.sharing import LOCK, PREFIX
from tests.acceptance.comparison import client_of, wait_for
from tests.acceptance.conftest import rows
from tests.scraping import Scraped, get, health, is_at_least, lint

EMAIL = "hostmaster@example.org"
ZONES = [f"watched{number}.test." for number in range(6)]
NO_NAMES = re.compile(r"watched|\.test\.")


@pytest.fixture(scope="module")
def watched(shared_servers: dict[str, Any]) -> Iterator[Stack]:
    settings = {"DNSWORKER_RETRY_CAP_S": "1", "DNSWORKER_SWEEP_INTERVAL_S": "0.5"}
    with Stack(metrics=True, settings=settings, **shared_servers) as running:
        yield running


@pytest.fixture
def watching(watched: Stack) -> Iterator[Client]:
    with client_of(watched) as client:
        yield client


@pytest.fixture
def workers(watched: Stack) -> list[str]:
    return [watched.metrics_urls[worker.name] for worker in watched.workers]


@pytest.fixture
def exporter(watched: Stack) -> str:
    return watched.metrics_urls["exporter"]


def test_what_is_counted_is_what_the_database_has(
    watched: Stack, watching: Client, workers: list[str], exporter: str
) -> None:
    """New zones, changes, refusals, repeated messages, and a target that is away for a while."""
    operations = [watching.create_zone(zone, email=EMAIL) for zone in ZONES]
    for operation in operations:
        operation.wait(60)
    watched.powerdns.stop()
    for number in range(150):
        zone = ZONES[number % len(ZONES)]
        operations.append(watching.put_record(zone, f"w{number}", "A", [f"192.0.2.{number}"]))
    again = str(uuid.uuid4())
    with client_of(watched, is_ordered=False) as other:
        for _ in range(3):
            operations.append(other.put_record(ZONES[0], "again", "A", ["192.0.2.1"], operation_id=again))
    refused = [
        watching.create_record(ZONES[1], "w1", "A", ["192.0.2.9"]),
        watching.delete_record(ZONES[2], "absent", "A"),
        watching.create_zone(ZONES[0], email=EMAIL),
    ]
    wait_for(lambda: Scraped.of(exporter).one("dnsworker_target_breaker_open", target="powerdns") == 1, "it")
    wait_for(lambda: Scraped.of(exporter).one("dnsworker_target_lag_seconds", target="powerdns") > 1, "a lag")
    wait_for(lambda: Scraped.of(exporter).one("dnsworker_target_lag_seconds", target="bind") == 0, "no lag")
    away = Scraped.of(exporter)
    assert away.one("dnsworker_target_backlog", target="powerdns") == len(ZONES)
    assert away.one("dnsworker_target_failing", target="powerdns") >= 1
    assert away.one("dnsworker_open_operations", status="ACCEPTED") >= 150
    age = away.one("dnsworker_oldest_open_operation_age_seconds", status="ACCEPTED")
    assert age >= away.one("dnsworker_target_lag_seconds", target="powerdns") - 1
    watched.powerdns.start()
    for operation in operations:
        operation.wait(60)
    for operation in refused:
        with pytest.raises(OperationFailed):
            operation.wait(60)

    def is_all_counted() -> bool:
        # Whoever waits is told in the moment in which it is counted.
        found = Scraped.of(*workers)
        return sum(found.by("dnsworker_operations_ended_total", "kind").values()) >= len(ZONES) + 151 + 3

    wait_for(is_all_counted, "all ends to be counted")
    counted = Scraped.of(*workers)
    assert counted.by("dnsworker_submissions_total", "kind") == dict(
        rows(watched, "SELECT kind, count(*) FROM operation GROUP BY kind")
    )
    ended = "SELECT kind, status, coalesce(code, ''), count(*) FROM operation GROUP BY 1, 2, 3"
    in_database = {tuple(row[:3]): row[3] for row in rows(watched, ended)}
    assert counted.by("dnsworker_operations_ended_total", "kind", "status", "code") == in_database
    assert in_database["create_record", "ERROR", "RecordExists"] == 1, "refusals are among them"
    active_at = "CASE WHEN status = 'ACTIVE' THEN 1 END"
    ((accepted, active),) = rows(watched, f"SELECT count(accepted_at), count({active_at}) FROM operation")
    # The id of the repeated one doesn't say when it was made.
    assert counted.total("dnsworker_time_to_accepted_seconds_count") == accepted - 1
    assert counted.total("dnsworker_time_to_active_seconds_count") == active
    servers = counted.by("dnsworker_time_to_served_seconds_count", "nameserver")
    assert list(servers.values()) == [accepted, accepted], "each nameserver shows each operation once"
    _assert_the_times_are_the_databases(watched, counted)
    _assert_retries_are_those_of_the_log(watched, counted)
    _assert_the_state_is_that_of_status(watched, exporter)


def _assert_the_times_are_the_databases(watched: Stack, counted: Scraped) -> None:
    ended = rows(watched, "SELECT id, received_at, finished_at FROM operation WHERE status = 'ACTIVE'")
    took, arrived = [], 0.0
    for id_, received, finished in ended:
        if uuid.UUID(id_).version == 7:
            took.append(seconds(finished) - (uuid.UUID(id_).int >> 80) / 1000)
        else:
            arrived += seconds(finished) - seconds(received)
    told = counted.total("dnsworker_time_to_active_seconds_sum")
    assert told == pytest.approx(sum(took) + arrived, abs=0.01)
    slow = sum(1 for one in took if one > 1.0)
    within = counted.total("dnsworker_time_to_active_seconds_bucket", le="1.0")
    assert counted.total("dnsworker_time_to_active_seconds_count") - within >= slow > 0


def seconds(moment: datetime | str) -> float:
    """Since 1970, of a moment as the database's driver gives it."""
    given = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return given.replace(tzinfo=given.tzinfo or UTC).timestamp()


def _assert_retries_are_those_of_the_log(watched: Stack, counted: Scraped) -> None:
    said: Counter[tuple[str, str]] = Counter()
    for worker in watched.workers:
        said.update(re.findall(r" (\w+): (\w+): .*; attempt \d+, again in", worker.log))
    retries = counted.by("dnsworker_delivery_retries_total", "target", "reason")
    assert {key: count for key, count in retries.items() if key[1] != "ReadFirst"} == said
    assert said["powerdns", "Unreachable"] >= 3


def _assert_the_state_is_that_of_status(watched: Stack, exporter: str) -> None:
    wait_for(lambda: watched.run_json("status")["zones"] == {"ACTIVE": len(ZONES)}, "all zones to be ACTIVE")
    status, state = watched.run_json("status"), Scraped.of(exporter)
    assert state.by("dnsworker_zones", "status") == status["zones"]
    for name in ("backlog", "failing", "blocked", "repairs", "failures"):
        told = state.by(f"dnsworker_target_{name}", "target")
        assert told == {one["name"]: one[name] for one in status["targets"] if one[name]}
    assert state.total("dnsworker_target_breaker_open") == 0
    assert state.total("dnsworker_oldest_open_operation_age_seconds") == 0
    assert state.one("dnsworker_database_up") == state.one("dnsworker_broker_up") == 1


def test_sweeps_and_what_they_find_are_counted(watched: Stack, workers: list[str]) -> None:
    found = Scraped.of(*workers)
    assert found.total("dnsworker_sweep_seconds_count") >= 2
    assert found.total("dnsworker_sweep_findings_total", finding="targets") >= 1, "PowerDNS was due"


def test_queues_are_told_with_their_dead_letters(watched: Stack, exporter: str) -> None:
    with Connection(watched.env["DNSWORKER_BROKER_URL"]) as connection:
        exchange = Exchange("dns.submit", type="direct", passive=True)
        connection.Producer(exchange=exchange).publish({"no": "task"}, routing_key="intake")
    wait_for(
        lambda: Scraped.of(exporter).one("dnsworker_queue_messages", queue="dns.dead") == 1, "the dead letter"
    )
    state = Scraped.of(exporter)
    assert state.one("dnsworker_queue_consumers", queue="dns.intake") == 1
    assert state.one("dnsworker_queue_consumers", queue="dns.dead") == 0


def test_all_that_is_told_pleases_promtool_and_names_no_zone(watched: Stack) -> None:
    for name, url in watched.metrics_urls.items():
        status, text = get(f"{url}/metrics")
        assert (status, lint(text)) == (200, ""), name
        assert not NO_NAMES.findall(text), name


def test_each_process_says_that_it_is_well(watched: Stack) -> None:
    for name, url in watched.metrics_urls.items():
        role = name.partition("-")[0]
        for what in ("live", "ready"):
            assert health(url, what) == (200, {"role": role, what: True, "troubles": {}})
        port = url.rpartition(":")[2]
        if role != "worker" or name == "worker-1":
            assert watched.run("health", role, "--port", port) == f"{role} is ready\n"
    told = json.loads(watched.run("health", "exporter", "--live", "--port", port, "--json"))
    assert told == {"role": "exporter", "live": True, "troubles": {}}
    port = watched.metrics_urls["beat"].rpartition(":")[2]
    said = watched.run("health", "worker", "--port", port, check=False)
    assert said == f"worker is not ready\n  role: port {port} is another process's (beat)\n"


def test_a_worker_without_its_broker_is_live_and_not_ready(watched: Stack, workers: list[str]) -> None:
    watched.rabbitmq.stop_app()
    try:
        wait_for(lambda: health(workers[0], "ready")[0] == 503, "the worker to notice")
        assert set(health(workers[0], "ready")[1]["troubles"]) == {"broker"}
        assert health(workers[0], "live")[0] == 200
        assert health(watched.metrics_urls["beat"], "live")[0] == 200
        assert Scraped.of(watched.metrics_urls["exporter"]).one("dnsworker_broker_up") == 0
        wait_for(lambda: health(watched.metrics_urls["beat"], "ready")[0] == 503, "beat to notice", 30)
    finally:
        watched.rabbitmq.start_app()
    _wait_for_all(*workers, watched.metrics_urls["beat"], status=200)


def test_a_worker_whose_database_is_frozen_is_live_and_not_ready(watched: Stack, workers: list[str]) -> None:
    exporter, database = watched.metrics_urls["exporter"], watched.database
    if not isinstance(database, Server):
        pytest.skip("a database in a file is never away")
    database.pause()
    try:
        _wait_for_all(*workers, exporter, status=503)
        for url in (*workers, exporter):
            status, told = health(url, "ready")
            assert (status, set(told["troubles"])) == (503, {"database"})
            assert "no answer for" in told["troubles"]["database"]
            assert health(url, "live")[0] == 200
    finally:
        database.cont()
    _wait_for_all(*workers, exporter, status=200)


def _wait_for_all(*urls: str, status: int) -> None:
    wait_for(lambda: [health(url, "ready")[0] for url in urls] == [status] * len(urls), f"{status}", 60)


def test_a_process_that_hangs_is_not_live(watched: Stack) -> None:
    port = watched.metrics_urls["worker-1"].rpartition(":")[2]
    watched.worker(0).pause()
    try:
        said = watched.run("health", "worker", "--live", "--timeout", "1", "--port", port, check=False)
    finally:
        watched.worker(0).cont()
    assert said.startswith("worker is not live\n  process: no answer at")
    assert watched.run("health", "worker", "--live", "--port", port) == "worker is live\n"


@pytest.fixture
def forking(watched: Stack, tmp_path: Path) -> Iterator[tuple[Program, str]]:
    """A worker with child processes, in the place of the stack's own, and where it answers."""
    for worker in watched.workers:
        worker.stop()
    port = claim_port()
    answers = {
        "DNSWORKER_METRICS_HOST": ADDRESS,
        "DNSWORKER_METRICS_PORT": str(port),
        "TMPDIR": str(tmp_path),
    }
    arguments = ("celery", "-A", "dnsworker.app", "worker", "-P", "processes", "-c", "2", "-l", "INFO")
    program = Program(
        "forking", arguments, ready=" ready.", folder=watched.folder,
        env=lambda: {**watched.process_env(), **answers},
    )  # fmt: skip
    url = f"http://{ADDRESS}:{port}"
    program.start()
    wait_for(lambda: health(url, "ready")[0] == 200, "it to take messages")
    yield program, url
    program.stop()
    for worker in watched.workers:
        worker.start()


def test_child_processes_are_counted_together_and_a_killed_one_stays_counted(
    watched: Stack, watching: Client, forking: tuple[Program, str], tmp_path: Path
) -> None:
    program, url = forking
    zone = "forked.test."
    watching.create_zone(zone, email=EMAIL).wait(60)

    def counts() -> dict[Any, float]:
        found = Scraped.of(url)
        names = ("dnsworker_submissions_total", "dnsworker_time_to_active_seconds_count")
        return {(name, *key): value for name in names for key, value in found.samples.get(name, {}).items()}

    def do(count: int) -> None:
        operations = [watching.put_record(zone, f"f{n}", "A", [f"192.0.2.{n}"]) for n in range(count)]
        for operation in operations:
            operation.wait(60)
        done[0] += count
        wait_for(lambda: Scraped.of(url).total("dnsworker_time_to_active_seconds_count") >= done[0], "counts")

    done = [1]  # the zone itself
    do(20)
    before = counts()
    assert Scraped.of(url).total("dnsworker_submissions_total") == 21
    assert lint(get(f"{url}/metrics")[1]) == ""
    for child in _children_of(program.pid):
        os.kill(child, signal.SIGKILL)
    wait_for(lambda: len(_children_of(program.pid)) == 2, "new children", 30)
    assert is_at_least(counts(), before), "nothing falls when a child is killed"
    do(20)
    assert Scraped.of(url).total("dnsworker_submissions_total") == 41
    (folder,) = tmp_path.glob(f"{PREFIX}*")
    files = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    processes = {name.partition("_")[2] for name in files}
    assert "gone.db" in processes, "what killed children leave behind is added up"
    alive = {f"{pid}.db" for pid in (program.pid, *_children_of(program.pid))}
    assert processes - {"gone.db"} <= alive, files
    assert health(url, "ready")[0] == 200
    # The worker itself, and what it leaves behind.
    children = _children_of(program.pid)
    program.kill()
    wait_for(lambda: not any(_is_running(child) for child in children), "the children to end as well", 30)
    assert list(tmp_path.glob(f"{PREFIX}*")) == [folder]
    program.start()
    assert folder not in list(tmp_path.glob(f"{PREFIX}*")), "the next one removes it"
    assert Scraped.of(url).total("dnsworker_submissions_total") == 0
    program.stop()
    assert list(tmp_path.glob(f"{PREFIX}*")) == [], "and leaves nothing when it ends in order"


def _children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if _is_running(int(child))]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False
