"""The command line against a real SQLite database, with a runtime in this process but no nameserver."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from dnsworker import database
from dnsworker.cli import cli
from dnsworker.operations import Outcome
from dnsworker.runtime import Runtime
from dnsworker.settings import load_settings
from dnsworker.tables import now, withheld

Run = Callable[..., Result]

POOLS = """\
- name: default
  ns_records: [{hostname: ns1.example.net.}]
  targets:
    - name: served
      type: builtin
"""


class StubSignals:
    """Nobody is woken and nobody is told: the test does both by hand."""

    def wake_delivery(self, target: str) -> None: ...
    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("BROKER_URL", "RESULT_URL", "DATABASE_URL", "POOLS"):
        monkeypatch.delenv(f"DNSWORKER_{name}", raising=False)
    monkeypatch.setenv("DNSWORKER_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "pools.yaml").write_text(POOLS, encoding="utf-8")

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(cli, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def system(run: Run, tmp_path: Path) -> Run:
    """A database with one pool."""
    assert run("db", "upgrade").exit_code == 0
    assert run("pool", "apply", str(tmp_path / "pools.yaml")).exit_code == 0
    return run


def take_in() -> None:
    runtime = Runtime(load_settings(), StubSignals())
    runtime.start()
    try:
        runtime.take_in()
    finally:
        runtime.stop()


def deliver() -> None:
    runtime = Runtime(load_settings(), StubSignals())
    runtime.start()
    try:
        runtime.take_in()
        runtime.deliver("served")
        runtime.sweep()
        deadline = time.monotonic() + 30
        while runtime.ask("show_zone", {"zone": "example.org."})["status"] != "ACTIVE":
            assert time.monotonic() < deadline, "what was delivered is verified by a thread of the runtime"
            time.sleep(0.01)
    finally:
        runtime.stop()


def submit(run: Run, *arguments: str) -> str:
    result = run(*arguments, "--no-wait", "--json")
    assert result.exit_code == 0, result.output
    return str(json.loads(result.stdout)["id"])


def test_after_a_restore_all_deliveries_are_to_be_compared(system: Run) -> None:
    assert system("db", "restored").stdout.startswith("0 deliveries will be compared")
    assert json.loads(system("db", "restored", "--json").stdout) == {"deliveries": 0}


def test_db_upgrade_is_safe_to_repeat(run: Run) -> None:
    first, second = run("db", "upgrade"), run("db", "upgrade")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout == second.stdout
    assert "has schema version" in first.stdout


def test_an_empty_system_says_what_to_do_next(run: Run) -> None:
    assert "start one with `dnsworker up`" in run("status").stderr
    run("db", "upgrade")
    assert "run `dnsworker pool apply pools.yaml`" in run("status").stdout
    assert "run `dnsworker pool apply pools.yaml`" in run("pool", "show").stdout


def test_a_database_of_another_version_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dnsworker.db").touch()
    result = run("status")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "run `dnsworker db upgrade`" in result.stderr


def test_a_database_out_of_reach_is_one_line_without_the_password(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSWORKER_DATABASE_URL", "postgresql://dns:hunter2@127.0.0.1:1/dns")
    for arguments in (["status"], ["zone", "show", "example.org"], ["db", "upgrade"]):
        result = run(*arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.output
        assert "refused" in result.stderr
        assert "hunter2" not in result.output


def test_a_dry_run_changes_nothing(run: Run, tmp_path: Path) -> None:
    run("db", "upgrade")
    path = str(tmp_path / "pools.yaml")
    dry = run("pool", "apply", path, "--dry-run")
    assert dry.stdout.startswith("would: pool default: new")
    assert json.loads(run("pool", "show", "--json").stdout) == []
    assert run("pool", "apply", path).stdout.startswith("pool default: new")
    assert "unchanged (version 1)" in run("pool", "apply", path).stdout


def test_a_bad_option_stops_apply_before_anything_is_stored(system: Run, tmp_path: Path) -> None:
    bad = POOLS.replace("type: builtin", "type: builtin\n      options: {speed: fast}")
    (tmp_path / "pools.yaml").write_text(bad, encoding="utf-8")
    result = system("pool", "apply", str(tmp_path / "pools.yaml"))
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "pools.yaml:6: pool default: targets[0].options.speed: is not known here" in result.stderr
    assert json.loads(system("pool", "show", "--json").stdout)[0]["targets"][0]["options"] == {}


def test_pool_check_asks_each_target_and_nameserver(system: Run, tmp_path: Path) -> None:
    result = system("pool", "check")
    assert (result.exit_code, " ok " in result.stdout) == (0, True)
    dead = POOLS + "  nameservers: [{host: 127.0.0.1, port: 1}]\n"
    (tmp_path / "pools.yaml").write_text(dead, encoding="utf-8")
    told = system("pool", "check", str(tmp_path / "pools.yaml"), "--json")
    assert told.exit_code == 1
    checks = json.loads(told.stdout)["checks"]
    assert [(one["name"], one["ok"]) for one in checks] == [("served", True), ("127.0.0.1:1", False)]


def test_a_submission_that_nobody_has_taken_in_says_so(system: Run) -> None:
    operation = submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    result = system("operation", "wait", operation, "--timeout", "0.1")
    assert result.exit_code == 1
    assert "create_zone example.org.  still PENDING" in result.stderr
    assert "no worker has taken it in yet" in result.stderr


def test_status_names_what_targets_refuse(system: Run) -> None:
    zone = submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    take_in()
    assert "withheld" not in system("status").stdout
    engine = database.connect(load_settings().database())
    with engine.begin() as connection:
        connection.execute(
            sa.insert(withheld).values(
                zone_id=1, target_id=1, name="www.example.org.", type="A", operation_id=zone, revision=1,
                message="no such addresses here", at=now(),
            )
        )  # fmt: skip
    engine.dispose()
    told = system("status").stdout
    assert "withheld     1 RRsets that a target refuses" in told
    assert "www.example.org. A at served: no such addresses here" in told


def test_an_operation_is_followed_from_submission_to_active(system: Run) -> None:
    zone = submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    record = submit(system, "record", "create", "example.org", "www", "A", "192.0.2.1", "--ttl", "300")
    assert "PENDING 2" in system("status").stdout
    take_in()
    assert "ACCEPTED" in system("operation", "show", record).stdout
    assert "PENDING" in system("zone", "list").stdout
    deliver()
    done = system("operation", "wait", record, "--timeout", "5", "--json")
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "ACTIVE"), done.output
    assert "example.org.  ACTIVE (serial " in system("zone", "show", "example.org").stdout
    listed = system("operation", "list", "--zone", "example.org", "--json")
    assert [one["id"] for one in json.loads(listed.stdout)] == [record, zone]
    assert system("record", "list", "example.org", "--type", "A").stdout.split()[-4:] == [
        "www.example.org.", "300", "A", "192.0.2.1",
    ]  # fmt: skip
    assert "www" in system("zone", "export", "example.org").stdout
    assert "closed" in system("target", "show").stdout


def test_a_refused_operation_tells_its_reason(system: Run) -> None:
    operation = submit(system, "record", "create", "example.org", "www", "A", "192.0.2.1")
    take_in()
    result = system("operation", "wait", operation)
    assert result.exit_code == 1
    assert "ERROR" in result.stderr
    assert "ZoneNotFound" in result.stderr


def test_retry_makes_what_is_open_due_and_knows_its_operation(system: Run) -> None:
    operation = submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    take_in()
    assert "due now at served" in system("operation", "retry", operation).stdout
    assert system("operation", "retry", "nonsense").exit_code == 1


def test_no_broker_means_no_queues_to_declare(system: Run) -> None:
    assert "there is no broker" in system("queues", "declare").stderr


def test_targets_are_paused_and_resumed_and_status_says_so(system: Run) -> None:
    assert system("target", "pause", "nowhere").stderr.endswith("no target 'nowhere'; there are: served\n")
    assert system("target", "pause").exit_code == 2
    told = system("target", "pause", "served", "--for", "1h30m", "--reason", "new disks").stdout
    assert "served  paused until 20" in told
    assert "by operator: new disks" in told
    assert "paused       served paused until 20" in system("status").stdout
    assert "ends in " in system("target", "show").stdout
    submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    take_in()
    assert "ALL WRITES ARE OFF" not in system("status").stdout
    assert system("target", "pause", "--all").stdout == "all targets  paused by operator until resumed\n"
    for command in ("status", "target show"):
        assert system(*command.split()).stdout.startswith("ALL WRITES ARE OFF: all targets are paused by op")
    assert "ends with `dnsworker target resume --all`" in system("target", "resume", "served").stderr
    assert "still paused by its own name: served" in system("target", "resume", "--all").stdout
    assert "served  resumed, due now at served" in system("target", "resume", "served").stdout
    assert "served  not paused" in system("target", "resume", "served").stdout
    deliver()


def test_a_target_that_the_file_has_lost_is_detached_only_when_it_is_meant(
    system: Run, tmp_path: Path
) -> None:
    submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    deliver()
    path = tmp_path / "pools.yaml"
    path.write_text(POOLS.replace("served", "other"), encoding="utf-8")
    refused = system("pool", "apply", str(path))
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
    assert "apply with --purge, which removes them there first, or with --detach" in refused.stderr
    purge = ("pool", "apply", str(path), "--purge")
    assert "would: target served: leaves pool default and is purged: its 1 zones" in (
        system(*purge, "--dry-run").stdout
    )
    assert "target served: leaves pool default and is purged" in system(*purge).stdout
    assert "1 zones left" in system("target", "show").stdout
    assert json.loads(system("target", "show", "served", "--json").stdout)["zones_left"] == 1
    assert "paused by operator" in system("target", "pause", "served").stdout
    told = system("pool", "apply", str(path), "--detach").stdout
    assert "target served: removed from pool default, 1 zones stay there as they are" in told
    assert "served" not in system("target", "show").stdout


def test_a_zone_is_frozen_and_thawed(system: Run) -> None:
    assert "ZoneNotFound" in system("zone", "freeze", "example.org").stderr
    submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    take_in()
    assert "frozen by operator: audit" in system("zone", "freeze", "example.org", "--reason", "audit").stdout
    assert "frozen by operator: audit (" in system("zone", "show", "example.org").stdout
    assert "frozen       1 zones; the first:\n  example.org. frozen by operator: audit" in (
        system("status").stdout
    )
    submit(system, "zone", "delete", "example.org")
    take_in()
    assert "example.org.  thawed, due now at served" in system("zone", "thaw", "example.org").stdout
    assert "ZoneNotFound" in system("zone", "thaw", "example.org").stderr


def test_a_zone_that_moves_is_frozen_in_both_pools(system: Run, tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(POOLS + POOLS.replace("default", "new").replace("served", "other"), encoding="utf-8")
    system("pool", "apply", str(path))
    submit(system, "zone", "create", "example.org", "--email", "a@example.org")
    submit(system, "zone", "move", "example.org", "--pool", "new")
    take_in()
    assert "moving   being delivered to pool new" in system("zone", "show", "example.org").stdout
    system("zone", "freeze", "example.org")
    assert json.loads(system("status", "--json").stdout)["frozen"]["zones"] == 2
    assert "thawed, due now at served, other" in system("zone", "thaw", "example.org").stdout
    assert json.loads(system("status", "--json").stdout)["frozen"]["zones"] == 0
