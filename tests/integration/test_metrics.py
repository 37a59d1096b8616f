"""What a worker counts and an exporter tells, against the database; and what the dashboard asks of them."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dnsworker import database
from dnsworker.errors import RateLimited, RecordRejected
from dnsworker.logs import set_up_logging
from dnsworker.monitoring.depth import Depth
from dnsworker.monitoring.server import of_this_process
from dnsworker.monitoring.state import State
from dnsworker.records import RRset
from dnsworker.store import stops
from tests.scraping import Scraped, lint
from tests.world import World, a_world

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dnsworker.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
LONG_AGO = "'2020-01-01 00:00:00.000000'"
STRANGER = RRset("stranger.example.org.", "A", 60, ["192.0.2.66"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", "two") as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


def counted(world: World) -> Scraped:
    return Scraped([generate_latest(world.runtime.events.registry).decode()])


def state_text(world: World, depths: dict[str, Depth] | None) -> str:
    registry = CollectorRegistry()
    registry.register(State(world.engine, lambda targets: depths))
    return generate_latest(registry).decode()


def state(world: World, depths: dict[str, Depth] | None = None) -> Scraped:
    return Scraped([state_text(world, depths)])


def execute(world: World, statement: str) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_each_operation_is_counted_once_however_often_its_message_comes(world: World) -> None:
    id_ = world.put("www", "192.0.2.1", operation_id="first")
    for _ in range(3):
        world.put("www", "192.0.2.1", operation_id="first")
        world.put("www", "192.0.2.2", operation_id="second")
    assert world.show("second").status == "ACCEPTED"
    world.end_of(id_)
    world.end_of("second")
    assert counted(world).by("dnsworker_submissions_total", "kind") == {"create_zone": 1, "put_record": 2}
    ends = counted(world).by("dnsworker_operations_ended_total", "kind", "status")
    assert ends == {
        ("create_zone", "ACTIVE"): 1,
        ("put_record", "SUPERSEDED"): 1,
        ("put_record", "ACTIVE"): 1,
    }


def test_one_that_was_held_is_submitted_once_and_accepted_once(world: World) -> None:
    later = world.put("b", "192.0.2.2", order={"client": "c", "number": 2})
    assert world.show(later).status == "HELD"
    assert counted(world).by("dnsworker_submissions_total", "kind")["put_record"] == 1
    before = counted(world).total("dnsworker_time_to_accepted_seconds_count")
    world.put("a", "192.0.2.1", order={"client": "c", "number": 1})
    world.end_of(later)
    assert counted(world).by("dnsworker_submissions_total", "kind")["put_record"] == 2
    assert counted(world).total("dnsworker_time_to_accepted_seconds_count") == before + 1, "by its row"


def test_what_targets_reject_is_counted_as_their_error(world: World) -> None:
    for server in world.servers.values():
        server.judge = lambda rrsets: RecordRejected("no") if any(r.type == "TXT" for r in rrsets) else None
    assert world.do("put_record", name="t", type="TXT", data=['"x"']).code == "RecordRejected"
    ends = counted(world).by("dnsworker_operations_ended_total", "kind", "status", "code")
    assert ends["put_record", "ERROR", "RecordRejected"] == 1
    assert counted(world).total("dnsworker_time_to_active_seconds_count", kind="put_record") == 0


def test_retries_are_counted_by_target_and_reason(world: World) -> None:
    world.servers["one"].is_down = True
    operation = world.put("www", "192.0.2.1")
    world.until(lambda: counted(world).total("dnsworker_delivery_retries_total") >= 2, "two retries")
    told = world.row(
        "SELECT attempts FROM delivery JOIN target ON id = target_id WHERE name = 'one'"
    ).attempts
    retries = counted(world).by("dnsworker_delivery_retries_total", "target", "reason")
    assert retries == {("one", "Unreachable"): told}
    world.servers["one"].is_down = False
    world.end_of(operation)
    deliveries = counted(world).by("dnsworker_deliveries_total", "target")
    assert deliveries == {"one": 2, "two": 2}, "the zone, and the record"


def test_a_target_that_asks_for_fewer_requests_rests_and_is_counted(world: World) -> None:
    world.servers["one"].judge = lambda rrsets: RateLimited("slowly", retry_after_s=3000)
    world.put("www", "192.0.2.1")
    world.deliver()
    assert counted(world).by("dnsworker_delivery_retries_total", "reason") == {"RateLimited": 1}
    assert state(world).by("dnsworker_target_resting", "target") == {"one": 1}


def test_a_repair_and_the_look_that_led_to_it_are_counted(world: World) -> None:
    server = world.servers["one"]
    server.zones.clear()
    execute(world, f"UPDATE delivery SET compare_at = {LONG_AGO}")
    repaired = "dnsworker_repairs_total"
    world.until(lambda: counted(world).by(repaired, "target") == {"one": 1}, "the repair was not counted")
    looks = counted(world).by("dnsworker_looks_total", "target", "result")
    assert looks == {("one", "changed"): 1, ("two", "as_left"): 1}
    server.is_down = True
    execute(world, f"UPDATE delivery SET compare_at = {LONG_AGO}")
    world.until(lambda: counted(world).by("dnsworker_looks_total", "result").get("failed") == 1, "a failure")


def test_what_waits_for_an_operator_is_counted_once_and_told_until_it_is_over(world: World) -> None:
    server = world.servers["one"]
    (zone,) = server.zones.values()
    server.edit(zone.name, serial=zone.soa.serial + 10_000, add=[STRANGER])
    world.put("www", "192.0.2.1")
    world.until(lambda: state(world).by("dnsworker_target_blocked", "target") == {"one": 1}, "ahead")
    assert counted(world).by("dnsworker_deliveries_blocked_total", "target", "reason") == {
        ("one", "Ahead"): 1
    }
    assert state(world).by("dnsworker_deliveries_ahead") == {(): 1}


def test_waits_for_a_rate_budget_are_counted(tmp_path: Path) -> None:
    limits = {"requests_per_second": 5, "burst": 1}
    pool = {"targets": [{"name": "one", "type": "memory", "limits": limits}]}
    with a_world(tmp_path, "one", pool=pool) as world:
        world.create()
        waits = counted(world)
    assert waits.total("dnsworker_budget_wait_seconds_count", target="one") >= 1, "a creation reads back"
    assert waits.total("dnsworker_budget_wait_seconds_sum") > 0


def test_sweeps_are_counted_with_what_they_find(world: World) -> None:
    before = counted(world).total("dnsworker_sweep_seconds_count")
    world.put("b", "192.0.2.2", order={"client": "c", "number": 2})
    execute(world, f"UPDATE operation SET received_at = {LONG_AGO} WHERE status = 'HELD'")
    findings = world.runtime.sweep()
    assert findings["gaps"] == 0, "what is missing may still come"
    assert counted(world).total("dnsworker_sweep_seconds_count") == before + 1
    told = counted(world).by("dnsworker_sweep_findings_total", "finding")
    world.runtime.sweep()
    again = counted(world).by("dnsworker_sweep_findings_total", "finding")
    assert again["targets"] == told.get("targets", 0) + 2, "both have something due"
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    (row,) = re.findall(r"^\| `dnsworker_sweep_findings_total`.*$", text, re.MULTILINE)
    assert all(f"`{finding}`" in row for finding in findings)


def test_the_lag_is_that_of_the_oldest_change_which_the_target_hasnt_got(world: World) -> None:
    assert state(world).by("dnsworker_target_lag_seconds", "target") == {}
    world.servers["one"].is_down = True
    world.put("a", "192.0.2.1")
    world.put("b", "192.0.2.2")
    world.deliver()
    execute(world, f"UPDATE journal SET at = {LONG_AGO} WHERE revision = 2")
    execute(world, "UPDATE delivery SET due_at = '2100-01-01 00:00:00.000000' WHERE due_at IS NOT NULL")
    lags = state(world).by("dnsworker_target_lag_seconds", "target")
    assert list(lags) == ["one"], "whenever the next attempt is due"
    assert lags["one"] > 100_000_000
    age = world.row("SELECT max(journal.revision) FROM journal")[0]
    assert age == 3
    execute(world, f"UPDATE journal SET at = {LONG_AGO}")
    execute(world, "UPDATE delivery SET delivered_revision = 3 WHERE due_at IS NOT NULL")
    assert state(world).by("dnsworker_target_lag_seconds", "target") == {}, "it has them all"


def test_orders_of_an_operator_are_told(world: World) -> None:
    with world.engine.begin() as connection:
        stops.pause_all(connection, None, "maintenance")
        connection.execute(sa.text("UPDATE zone SET frozen_at = updated_at"))
    told = state(world)
    assert (told.one("dnsworker_writes_paused"), told.one("dnsworker_frozen_zones")) == (1, 1)
    assert told.total("dnsworker_target_paused") == 0, "by its own name"


def test_a_database_that_is_away_is_all_that_is_told(world: World, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    away = database.connect("postgresql://nobody@127.0.0.1:1/none")
    registry.register(State(away, lambda targets: {"dns.intake": Depth(1, 2)}))
    told = Scraped([generate_latest(registry).decode()])
    assert told.one("dnsworker_database_up") == 0
    assert told.one("dnsworker_queue_messages", queue="dns.intake") == 1
    assert "dnsworker_zones" not in told.samples


def test_a_broker_that_is_away_is_told(world: World) -> None:
    told = state(world, None)
    assert told.one("dnsworker_broker_up") == 0
    assert "dnsworker_queue_messages" not in told.samples
    assert told.one("dnsworker_zones", status="ACTIVE") == 1


# --- who asks for it ---------------------------------------------------------------------------------------

WORD = re.compile(r"\b(?:dnsworker|process|python)_[a-z_]+\b")
SELECTOR = re.compile(r"\b(dnsworker_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"by \(([a-z_, ]+)\) \((?:rate|increase)?\(?(dnsworker_[a-z_]+)")


@pytest.fixture
def told(world: World) -> str:
    """All that an exporter, a worker and beat tell."""
    depths = {"dns.intake": Depth(0, 1)}
    registry = of_this_process(world.runtime.events.registry)
    # The process' own are in there under their names and with their units, too.
    return generate_latest(registry).decode() + state_text(world, depths)


def expressions() -> Iterator[tuple[str, str]]:
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for variable in json.loads(DASHBOARD.read_text("utf-8"))["templating"]["list"]:
        yield f"variable {variable['name']}", variable.get("definition", "")
    for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def families(text: str) -> dict[str, str]:
    """Every name that can be asked for, with the family that it is of."""
    suffixes = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
    found = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        found |= {name + suffix: name for suffix in suffixes[kind]}
    return found


def labels_of(world: World, told: str) -> dict[str, set[str]]:
    """The labels of each family."""
    found = {}
    for family in text_string_to_metric_families(told):
        found[family.name] = {label for sample in family.samples for label in sample.labels}
    for metric in vars(world.runtime.events).values():  # those that have no sample yet
        if hasattr(metric, "_labelnames"):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            found[name] = set(metric._labelnames)
    return found


def test_everything_that_the_dashboard_and_the_alerts_ask_for_exists(world: World, told: str) -> None:
    names, labels = families(told), labels_of(world, told)
    asked = list(expressions())
    assert len(asked) > 60
    for where, expression in asked:
        for name in WORD.findall(expression):
            assert name in names, f"{where}: {name}"
        for name, selector in SELECTOR.findall(expression):
            for label in re.findall(r"(\w+)\s*[=!]", selector):
                assert label in {*labels.get(names[name], ()), "le"}, f"{where}: {name} {label}"
        for grouping, name in GROUPED.findall(expression):
            for label in grouping.split(", "):
                assert label in {*labels.get(names[name], ()), "le"}, f"{where}: {name} {label}"


def test_everything_that_is_told_is_on_the_dashboard(told: str) -> None:
    """What nobody looks at need not be told."""
    shown = {name for where, text in expressions() for name in WORD.findall(text)}
    ours = {name: family for name, family in families(told).items() if name.startswith("dnsworker_")}
    unseen = set(ours.values()) - {ours[name] for name in shown if name in ours}
    assert unseen == set()


def test_the_dashboard_has_no_two_panels_in_one_place() -> None:
    taken: dict[tuple[int, int], str] = {}
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, f"{panel['title']} on {taken.get((x, y))}"
                taken[x, y] = panel["title"]


def test_names_and_units_please_promtool(told: str) -> None:
    assert lint(told) == ""


def test_every_metric_is_in_the_table_of_the_documentation(told: str) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    documented = re.findall(r"^\| `(dnsworker_\w+)`", text, re.MULTILINE)
    assert len(documented) == len(set(documented))
    ours = {name for name in families(told).values() if name.startswith("dnsworker_")}
    assert set(documented) == ours


# --- logs --------------------------------------------------------------------------------------------------


def test_each_end_is_one_line_and_each_failed_attempt_says_where(world: World) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    set_up_logging(world.settings.model_copy(update={"log_format": "json"}), stream)
    try:
        world.servers["one"].is_down = True
        operation = world.put("www", "192.0.2.1", operation_id="first")
        world.deliver()
        world.servers["one"].is_down = False
        world.end_of(operation)
        refused = world.submit("delete_record", name="absent", type="A")
        for _ in range(3):  # repeated messages tell the end to whoever waits, and not to the log
            world.put("www", "192.0.2.1", operation_id="first")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    failed = next(line for line in lines if "Unreachable" in line["message"])
    where = {"pool": "default", "zone": "example.org.", "target": "one"}
    assert {key: failed.get(key) for key in where} == where
    ends = {line["operation"]: line for line in lines if "status" in line}
    assert len([line for line in lines if "status" in line]) == 2
    assert ends[operation]["status"] == "ACTIVE"
    assert ends[operation]["zone"] == "example.org."
    assert ends[operation]["took_s"] > 0
    assert (ends[refused]["status"], ends[refused]["code"]) == ("ERROR", "RecordNotFound")
