"""`zone diff`, `zone sync`, and the alarm when many zones are ahead: what an operator sees and does."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from dnsworker.cli import cli
from dnsworker.errors import RecordRejected
from dnsworker.names import Name
from dnsworker.records import RRset
from dnsworker.store import comparisons
from tests.documented import block
from tests.world import World, a_world

Run = Callable[..., Result]

ZONE = Name("example.org.")
WWW = ("www.example.org.", "A")
STRANGER = RRset("stranger.example.org.", "A", 60, ["192.0.2.66"])
MANY = comparisons.MANY_AHEAD + 1


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("BROKER_URL", "RESULT_URL", "POOLS"):
        monkeypatch.delenv(f"DNSWORKER_{name}", raising=False)
    monkeypatch.setenv("DNSWORKER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DNSWORKER_DATABASE_URL", f"sqlite:///{tmp_path / 'world.db'}")
    with a_world(tmp_path, "one", "two", pool={"threshold_percentage": 50}) as world:
        world.create()
        world.end_of(world.put("www", "192.0.2.1"))
        world.wait_for_zone("ACTIVE")
        yield world


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_beside(world: World, *arguments: str) -> Result:
    """While a worker works."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, *arguments)
        world.until(running.done, f"{arguments} did not end")
        return running.result()


def edit(world: World, target: str = "one", *, by: int = 0, zone: str = ZONE, **more: Any) -> None:
    server = world.servers[target]
    server.edit(zone, serial=server.zones[Name(zone)].soa.serial + by, **more)


def make_ahead(world: World, target: str = "one") -> None:
    """As if the database had been restored from before the target's latest changes."""
    edit(world, target, by=1000, add=[STRANGER])
    world.put("new", "192.0.2.2")
    world.until(lambda: state(world, target) == "ahead", "it is not ahead")


def state(world: World, target: str = "one") -> str:
    return next(str(one["state"]) for one in world.zone()["targets"] if one["target"] == target)


# --- diff ---------------------------------------------------------------------------------------------------


def test_no_difference_is_exit_code_0_and_nothing_is_written(world: World) -> None:
    before = world.row("SELECT * FROM delivery WHERE target_id = 1")
    result = run("zone", "diff", "example.org")
    assert result.exit_code == 0
    serial = world.zone()["serial"]
    assert result.stdout.splitlines() == [
        f"example.org.  serial {serial} in pool default",
        f"one  present, serial {serial}: no difference",
        f"two  present, serial {serial}: no difference",
    ]
    assert world.row("SELECT * FROM delivery WHERE target_id = 1") == before


def test_what_is_pending_withheld_and_drift_is_told_apart(world: World) -> None:
    one = world.servers["one"]
    one.judge = lambda rrsets: (
        RecordRejected("no mail") if any(rrset.type == "MX" for rrset in rrsets) else None
    )
    world.put("mail", "10 mail.example.org.", "MX")
    world.until(lambda: bool(world.zone()["targets"][0]["withheld"]), "it was not refused")
    edit(world, add=[STRANGER, RRset("www.example.org.", "A", 60, ["192.0.2.1", "192.0.2.9"])])
    world.put("new", "192.0.2.2")
    result = run("zone", "diff", "example.org", "--target", "one")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()[2:]
    at = lines.index("  pending: on its way there")
    assert "+ example.org. 3600 IN SOA" in lines[at + 2]
    assert lines[at + 3 :] == [
        "  + new.example.org. 3600 IN A 192.0.2.2",
        "  withheld: the target refuses it",
        "  + mail.example.org. 3600 IN MX 10 mail.example.org.",
        "  drift: nothing explains it",
        "  - stranger.example.org. 60 IN A 192.0.2.66",
        "  - www.example.org. 60 IN A 192.0.2.1",
        "  - www.example.org. 60 IN A 192.0.2.9",
        "  + www.example.org. 3600 IN A 192.0.2.1",
    ]
    told = json.loads(run("zone", "diff", "example.org", "--json").stdout)
    assert told["differs"] is True
    found = told["targets"][0]
    assert [change["name"] for change in found["drift"]] == ["stranger.example.org.", "www.example.org."]
    assert found["drift"][0]["database"] is None
    assert found["withheld"][0]["type"] == "MX"


def test_a_zone_that_is_gone_is_all_missing(world: World) -> None:
    del world.servers["two"].zones[ZONE]
    result = run("zone", "diff", "example.org")
    assert result.exit_code == 1
    assert "two  present, has no such zone" in result.stdout
    assert "  + www.example.org. 3600 IN A 192.0.2.1" in result.stdout


def test_a_target_that_cannot_be_read_is_said_and_the_others_are_compared(world: World) -> None:
    world.servers["one"].is_down = True
    result = run("zone", "diff", "example.org")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1] == "one  Unreachable: nobody answers"
    assert result.stdout.splitlines()[2].endswith(": no difference")


def test_an_unknown_target_is_refused_by_name(world: World) -> None:
    result = run("zone", "diff", "example.org", "--target", "three")
    assert (result.exit_code, "no target 'three'" in result.stderr) == (1, True)


def test_the_documented_difference_is_what_is_shown(world: World) -> None:
    make_ahead(world)
    command, *expected = block("docs/operating/ahead.md", "A target is held or ahead").splitlines()
    shown = run(*command.split()[2:]).stdout.replace("one  ", "ns1  ").replace("two  ", "ns2  ")
    ours = world.zone()["serial"]
    at_target = re.findall(r"ahead, serial (\d+)", shown)[0]
    text = "\n".join(expected).replace("1795717982", at_target).replace("1795716982", str(ours))
    assert shown.splitlines() == text.splitlines()


# --- sync ---------------------------------------------------------------------------------------------------


def test_sync_repairs_now_what_no_serial_tells(world: World) -> None:
    edit(world, add=[STRANGER])
    result = run_beside(world, "zone", "sync", "example.org", "--wait")
    assert result.exit_code == 0
    one, two = result.stdout.splitlines()[1:]
    assert "repaired 1 RRsets that somebody else had changed: stranger.example.org. A" in one
    assert two.endswith("as it should be")
    assert world.served("one") == {WWW: ("192.0.2.1",)}


def test_sync_of_one_target_leaves_the_others(world: World) -> None:
    result = run("zone", "sync", "example.org", "--target", "two", "--json")
    assert json.loads(result.stdout) == {"zone": ZONE, "ok": True, "targets": {"two": "due now"}}
    assert world.row("SELECT due_at FROM delivery WHERE target_id = 1").due_at is None


def test_whoever_is_at_work_with_the_old_belief_loses_the_claim(world: World) -> None:
    before = world.row("SELECT epoch FROM delivery WHERE target_id = 1").epoch
    run("zone", "sync", "example.org", "--target", "one")
    assert world.row("SELECT epoch FROM delivery WHERE target_id = 1").epoch == before + 1


def test_sync_leaves_what_is_blocked_and_asks_which_side_is_right(world: World) -> None:
    make_ahead(world)
    result = run_beside(world, "zone", "sync", "example.org", "--wait")
    assert result.exit_code == 1
    assert "ahead: serial " in result.stdout
    assert "say which side is right with --keep" in result.stdout
    assert STRANGER.key in world.served("one")
    world.servers["one"].requests.clear()
    assert run("zone", "sync", "example.org", "--target", "one").exit_code == 1
    world.runtime.deliver("one")
    assert world.servers["one"].requests == []


def test_keep_database_overwrites_what_is_ahead(world: World) -> None:
    make_ahead(world)
    result = run_beside(world, "zone", "sync", "example.org", "--keep", "database", "--wait")
    assert result.exit_code == 0, result.output
    assert world.served("one") == {WWW: ("192.0.2.1",), ("new.example.org.", "A"): ("192.0.2.2",)}
    world.wait_for_zone("ACTIVE")


def test_keep_target_brings_all_others_to_what_it_has(world: World) -> None:
    make_ahead(world)
    highest = world.servers["one"].zones[ZONE].soa.serial
    result = run_beside(world, "zone", "sync", "example.org", "--keep", "target", "--wait")
    assert result.exit_code == 0, result.output
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == world.served("two") == {WWW: ("192.0.2.1",), STRANGER.key: STRANGER.data}
    assert world.zone()["serial"] > highest
    assert world.servers["one"].serials[ZONE] == sorted(world.servers["one"].serials[ZONE])


def test_keep_target_is_under_the_guard_and_leaves_all_as_it_was(world: World) -> None:
    for number in range(12):
        world.put(f"n{number}", "192.0.2.3")
    world.wait_for_zone("ACTIVE")
    edit(world, remove=[(f"n{number}.example.org.", "A") for number in range(12)], by=1000, add=[STRANGER])
    world.put("new", "192.0.2.2")
    world.until(lambda: state(world) == "ahead", "it is not ahead")
    keep = ("zone", "sync", "example.org", "--keep", "target")
    refused = run_beside(world, *keep)
    assert refused.exit_code == 1
    assert "more than 30%; say force=True" in refused.stderr
    assert (state(world), len(world.records())) == ("ahead", 14)
    assert run_beside(world, *keep, "--force", "--wait").exit_code == 0
    assert set(world.records()) == {WWW, STRANGER.key}


def test_what_is_drift_at_one_target_can_be_taken_over_by_name(world: World) -> None:
    edit(world, "two", add=[STRANGER])
    keep = ("zone", "sync", "example.org", "--keep", "target")
    vague = run(*keep)
    assert (vague.exit_code, "which target is right? Say it with --target" in vague.stderr) == (2, True)
    assert run_beside(world, *keep, "--target", "two", "--wait").exit_code == 0
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == {WWW: ("192.0.2.1",), STRANGER.key: STRANGER.data}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give either ZONE or --all"),
        (("example.org", "--all"), "give either ZONE or --all"),
        (("--all",), "--all needs --keep"),
        (("example.org", "--force"), "--force is for --keep target"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, arguments: tuple[str, ...], words: str) -> None:
    result = run("zone", "sync", *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("policy", "said", "code"),
    [
        ("repair", "the drift would be put right", 0),
        ("report", "the drift would stay, and be told: the pool says on_drift: report", 1),
    ],
)
def test_a_dry_run_of_a_sync_says_what_would_become_of_drift(
    world: World, policy: str, said: str, code: int
) -> None:
    with world.engine.begin() as connection:
        document = connection.execute(sa.text("SELECT document FROM pool")).scalar_one()
        changed = json.dumps(json.loads(document) | {"on_drift": policy})
        connection.execute(sa.text("UPDATE pool SET document = :one"), {"one": changed})
    edit(world, add=[STRANGER])
    before = world.row("SELECT * FROM delivery WHERE target_id = 1")
    result = run("zone", "sync", "example.org", "--dry-run")
    assert result.exit_code == code
    lines = result.stdout.splitlines()
    assert lines[2:5] == [
        "  drift: nothing explains it",
        "  - stranger.example.org. 60 IN A 192.0.2.66",
        f"  {said}",
    ]
    assert lines[-2:] == ["  nothing to do", "Nothing was done."]
    assert world.row("SELECT * FROM delivery WHERE target_id = 1") == before
    assert STRANGER.key in world.servers["one"].zones[ZONE].rrsets


def test_a_dry_run_of_a_sync_tells_that_the_guard_would_hold_it(world: World) -> None:
    many = [RRset(f"s{number}.example.org.", "A", 60, ["192.0.2.66"]) for number in range(20)]
    edit(world, add=many)
    told = json.loads(run("zone", "sync", "example.org", "--target", "one", "--dry-run", "--json").stdout)
    (target,) = told["targets"]
    assert (told["ok"], target["would"][:31]) == (False, "would be held: this removes 20 ")
    run("zone", "sync", "example.org", "--target", "one")
    world.until(lambda: state(world) == "held", "the sync itself is not held")


def test_a_dry_run_of_a_sync_that_keeps_a_side_does_neither(world: World) -> None:
    make_ahead(world)
    blocked = run("zone", "sync", "example.org", "--target", "one", "--dry-run")
    assert blocked.exit_code == 1
    assert "is ahead and would stay so: say which side is right with --keep" in blocked.stdout
    forced = run("zone", "sync", "example.org", "--target", "one", "--keep", "database", "--dry-run")
    assert (forced.exit_code, "would be made what the database says" in forced.stdout) == (0, True)
    taken = run("zone", "sync", "example.org", "--keep", "target", "--dry-run")
    assert taken.exit_code == 0, taken.output
    assert "  + stranger.example.org. 60 IN A 192.0.2.66" in taken.stdout.splitlines()
    assert state(world) == "ahead"
    assert STRANGER.key not in world.records()


# --- many are ahead -----------------------------------------------------------------------------------------


@pytest.fixture
def restored(world: World, caplog: pytest.LogCaptureFixture) -> World:
    """One target is ahead of the database with so many zones that the database may be an old one."""
    for number in range(MANY + 1):
        world.submit("create_zone", zone=f"z{number}.example.", email="hostmaster@example.net")
    world.until(lambda: len(world.servers["two"].zones) == MANY + 2, "they were not created")
    world.until(
        lambda: not world.row("SELECT count(*) FROM delivery WHERE due_at IS NOT NULL")[0], "not at rest"
    )
    caplog.set_level(logging.WARNING)
    for number in range(MANY):
        zone = f"z{number}.example."
        edit(world, zone=zone, by=1000, add=[RRset(f"new.{zone}", "A", 60, ["192.0.2.66"])])
    with world.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE delivery SET compare_at = '2020-01-01 00:00:00.000000' WHERE target_id = 1")
        )
    world.until(lambda: run("status").exit_code == 1, "no alarm was raised")
    return world


def test_many_zones_ahead_stop_all_repairs_and_nothing_else(
    restored: World, caplog: pytest.LogCaptureFixture
) -> None:
    words = f"{MANY} deliveries of {MANY + 2} zones are ahead of the database"
    assert words in run("status").stdout
    assert json.loads(run("status", "--json").stdout)["alarm"].startswith(words)
    edit(restored, by=-1, add=[STRANGER])
    with restored.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET compare_at = '2020-01-01 00:00:00.000000'"))
    for _ in range(3):
        restored.runtime.sweep()
        restored.runtime.deliver("one")
    assert STRANGER.key in restored.served("one")
    logged = [*caplog.get_records("setup"), *caplog.records]
    errors = [record for record in logged if record.levelno >= logging.ERROR]
    assert [words in record.getMessage() for record in errors] == [True]
    changed = restored.end_of(restored.put("new", "192.0.2.2"))
    assert changed.status.has_succeeded
    assert STRANGER.key in restored.served("one"), "a change doesn't bring a repair with it either"
    assert run("zone", "sync", "--all", "--keep", "database").exit_code == 0
    assert run("status").exit_code == 0
    restored.until(lambda: STRANGER.key not in restored.served("one"), "repairs did not go on")
    restored.until(
        lambda: all(len(restored.served("one", f"z{number}.example.")) == 0 for number in range(MANY)),
        "what was ahead was not overwritten",
    )


def test_all_that_is_ahead_can_be_taken_into_the_database(restored: World) -> None:
    result = run_beside(restored, "zone", "sync", "--all", "--keep", "target")
    assert (result.exit_code, result.stdout) == (0, f"{MANY} zones taken into the database\n")
    restored.until(
        lambda: all(restored.served("two", f"z{number}.example.") for number in range(MANY)),
        "the other target did not get it",
    )
    assert run("status").exit_code == 0
