"""Where designate-worker loses time or messages when something is away: W8 to W10, W12, W15, W17 and W20.

Together with `test_designate_defects` and those tests elsewhere that have a defect's number in their name.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dev.servers import Bind, Nsd, PowerDNS
from dnsworker.backend import load_backend
from dnsworker.errors import BackendError, OutcomeUnknown, Unreachable
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.pools import Pool, build_options
from dnsworker.store import pools
from tests.stubserver import StubNameserver, failing, showing
from tests.world import World, a_world

ZONE = Name("example.org.")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


def apply(world: World, **changes: Any) -> None:
    """What `dnsworker pool apply` does to the worker's only pool."""
    document = world.runtime._directory.default().pool.to_document() | changes
    with world.engine.begin() as connection:
        pools.apply(connection, [Pool.from_document(document)])
    world.runtime.reload_pools()


def test_w8_a_lost_wake_up_costs_one_sweep(world: World) -> None:
    operation = world.put("www", "192.0.2.1")
    assert world.signals.woken == ["one"]
    world.signals.woken.clear()
    world.runtime.sweep()
    world.deliver()
    world.until(lambda: world.show(operation).status is Status.ACTIVE, "it was not delivered")


def test_w8_an_outcome_that_could_not_be_told_is_told_by_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsworker.runtime.TELL_AGAIN_S", 0.0)

    def lose(outcomes: object) -> None:
        raise ConnectionError("Redis is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.signals, "publish_outcomes", lose)
        operation = world.put("www", "192.0.2.1")
        world.until(lambda: world.show(operation).status is Status.ACTIVE, "it did not end")
        assert operation not in world.signals.told
    world.runtime.sweep()
    assert world.signals.told[operation].status is Status.ACTIVE


def test_w9_nothing_is_sent_again_while_an_attempt_runs(world: World) -> None:
    """However often the sweep looks, and whoever is woken."""
    beside: list[str] = []

    def look_for_work(what: str) -> None:
        others = threading.Thread(target=lambda: [_sweep_and_deliver(world) for _ in range(3)])
        before = len(world.servers["one"].requests)
        others.start()
        others.join()
        beside.extend(world.servers["one"].requests[before:])

    world.servers["one"].before_request = look_for_work
    operation = world.put("www", "192.0.2.1")
    assert world.end_of(operation).status is Status.ACTIVE
    assert "apply" in world.servers["one"].requests
    assert beside == []


def _sweep_and_deliver(world: World) -> None:
    world.runtime.sweep()
    world.runtime.deliver("one")


def test_w9_failures_wait_longer_and_longer_and_not_all_at_once(tmp_path: Path) -> None:
    """Nothing is asked before its time, however often the sweep looks; no two zones have the same."""
    with a_world(tmp_path, "one") as world:
        world.runtime._deliverer._setbacks._settings = world.settings.model_copy(
            update={"retry_base_s": 3600.0, "retry_cap_s": 1e6, "breaker_failures": 1000}
        )
        world.servers["one"].judge = lambda rrsets: Unreachable("no route")
        for number in range(10):
            world.submit("create_zone", zone=f"z{number}.example.", email="a@example.net")
        world.deliver()
        for _ in range(5):
            _sweep_and_deliver(world)
        assert world.servers["one"].requests.count("create") == 10
        with world.engine.connect() as connection:
            due = list(connection.execute(sa.text("SELECT due_at FROM delivery")).scalars())
        assert len(set(due)) == 10
        world.servers["one"].judge = lambda rrsets: None


@contextmanager
def black_hole() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


SILENT: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    "bind9": lambda options, port: {**options, "rndc_port": port},
    "powerdns": lambda options, port: {**options, "api_url": f"http://127.0.0.1:{port}"},
    "nsd": lambda options, port: {**options, "control_port": port},
}


@pytest.mark.parametrize("kind", SILENT)
def test_w12_a_control_channel_that_says_nothing_is_not_waited_for_without_end(
    kind: str, bind: Bind, powerdns: PowerDNS, nsd: Nsd
) -> None:
    """rndc, HTTP and nsd-control: an error with a reason, and no process that stays."""
    server = {"bind9": bind, "powerdns": powerdns, "nsd": nsd}[kind]
    with black_hole() as port:
        document = {
            "name": "default",
            "ns_records": [{"hostname": "ns1.example.net."}],
            "targets": [
                {
                    "name": "one",
                    "type": kind,
                    "masters": [{"host": "127.0.0.1", "port": 53}] if kind == "nsd" else [],
                    "options": SILENT[kind](server.target_options(), port),
                }
            ],
        }
        (target,) = Pool.model_validate(document).targets
        backend = load_backend(kind)("one", build_options(target), timeout_s=0.3)
        try:
            with pytest.raises(BackendError, match=r"0\.3 s|timed out|no answer|not answer") as raised:
                backend.delete_zone(ZONE)
            assert isinstance(raised.value, Unreachable | OutcomeUnknown)
        finally:
            backend.close()


def test_w15_each_target_says_how_far_it_is_and_why(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", "two", pool={"threshold_percentage": 50}) as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        world.servers["two"].is_down = True
        operation = world.put("www", "192.0.2.1")
        assert world.end_of(operation).status is Status.ACTIVE
        world.wait_for_zone("DEGRADED")
        world.until(lambda: world.show(operation).targets[1].last_error is not None, "no reason")
        one, two = world.show(operation).targets
        assert (one.target, one.is_current, one.attempts) == ("one", True, 0)
        assert (two.target, two.is_current, two.last_error) == ("two", False, "nobody answers")
        assert two.attempts >= 1
        assert two.next_attempt_at is not None
        world.until(lambda: "two: nobody answers" in (world.zone()["reason"] or ""), "the zone says nothing")


def test_w15_a_changed_pool_is_worked_with_at_once(world: World) -> None:
    """Designate's worker keeps its pools until it is restarted."""
    with StubNameserver(failing) as server:
        apply(world, nameservers=[{"host": "127.0.0.1", "port": server.port, "target": "one"}])
        operation = world.put("www", "192.0.2.1")
        world.until(lambda: "SERVFAIL" in (world.show(operation).message or ""), "it was not asked")
        server.reply = showing(world.show(operation).serial or 0, www="192.0.2.1")
        assert world.end_of(operation).status is Status.ACTIVE


def test_w17_a_nameserver_that_still_shows_the_old_serial_is_asked_until_it_shows_the_new(
    tmp_path: Path,
) -> None:
    with StubNameserver(failing) as server:
        watched = {"nameservers": [{"host": "127.0.0.1", "port": server.port, "target": "one"}]}
        with a_world(tmp_path, "one", pool=watched) as world:
            created = world.submit("create_zone", email="hostmaster@example.net")
            old = world.show(created).serial
            assert old is not None
            server.reply = showing(old)
            world.end_of(created)
            operation = world.put("www", "192.0.2.1")
            world.until(
                lambda: f"shows serial {old}" in (world.show(operation).message or ""), "it was not asked"
            )
            assert world.show(operation).status is Status.ACCEPTED
            new = world.show(operation).serial
            assert new is not None
            server.reply = showing(new, www="192.0.2.1")
            assert world.end_of(operation).status is Status.ACTIVE
            world.wait_for_zone("ACTIVE")


def test_w20_a_changed_pool_sends_no_zone_anywhere(world: World) -> None:
    world.servers["one"].requests.clear()
    apply(world, description="another", threshold_percentage=50)
    for _ in range(3):
        _sweep_and_deliver(world)
    assert world.servers["one"].requests == []


def test_w20_a_change_of_records_says_nothing_over_the_control_channel(tmp_path: Path, bind: Bind) -> None:
    """Designate calls rndc twice for each."""
    zone = "w20.example.org."
    target = {"name": "one", "type": "bind9", "options": bind.target_options()}
    with a_world(tmp_path, "one", pool={"targets": [target]}) as world:
        world.create(zone)
        before = bind.log_path.read_text().count("received control channel command")
        assert before > 0
        for number in range(5):
            world.succeed("put_record", zone=zone, name="www", type="A", data=[f"192.0.2.{number}"])
        assert bind.log_path.read_text().count("received control channel command") == before
