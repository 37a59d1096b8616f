"""A sabotage takes out what it says, whichever way the work goes: singly or together, by message or not."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import dns.message
import dns.update
import pytest

from backends import dns_update
from chaos.faults import FAULTS
from chaos.sabotage import SABOTAGES, _put
from dnsworker import intake
from dnsworker.errors import ClaimLost
from dnsworker.names import Name
from dnsworker.plan import Fence, Plan, RRsetChange
from dnsworker.records import SOA, RRset
from dnsworker.requests.kinds import parse_request
from dnsworker.store import claims, comparisons, convoys
from tests.world import World, a_world

T = TypeVar("T")

PUT = {"zone": "example.org.", "name": "www", "type": "A"}


@pytest.mark.parametrize("name", SABOTAGES)
def test_what_a_sabotage_takes_out_is_there(name: str) -> None:
    assert without(name, nothing) is None
    assert set(SABOTAGES[name].faults) <= set(FAULTS)


def test_what_is_not_there_or_takes_something_else_is_not_replaced() -> None:
    class Owner:
        def method(self, one: int) -> None: ...

    with pytest.raises(AttributeError):
        _put(Owner, "other", lambda self, one: None)
    with pytest.raises(TypeError, match=r"Owner\.method takes something else"):
        _put(Owner, "method", lambda self, one, two: None)


@pytest.mark.parametrize("fence", ["soa", "rrsets"])
def test_updates_require_nothing(fence: Fence) -> None:
    assert required(fence) == 1
    assert without("fence", required, fence) == 0


def test_the_epoch_is_in_no_write_of_a_delivery(tmp_path: Path) -> None:
    assert writes_of_a_replaced_worker(tmp_path) == set()
    assert without("epoch", writes_of_a_replaced_worker, tmp_path) == set(WRITES)


def test_operations_take_effect_as_they_come_either_way(tmp_path: Path) -> None:
    assert values_out_of_order(tmp_path / "with") == ["HELD", "HELD"]
    assert without("order", values_out_of_order, tmp_path / "without") == ["ACCEPTED", "ACCEPTED"]


def test_a_repeated_operation_is_not_known(tmp_path: Path) -> None:
    assert status_after_a_repetition(tmp_path / "with") == "ACTIVE"
    assert without("once", status_after_a_repetition, tmp_path / "without") == "ERROR"


def test_a_nameserver_that_nobody_hears_of_is_believed(tmp_path: Path) -> None:
    assert without("verification", status_with_a_silent_nameserver, tmp_path) == "ACTIVE"


# --- in a process of their own, which they spoil ------------------------------------------------------------


def without(name: str, look: Callable[..., T], *arguments: object) -> T:
    context = multiprocessing.get_context("forkserver")
    # Forked where all is imported and nothing spoilt: imports would take longer than the look.
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        return processes.submit(_sabotaged, name, look, *arguments).result()


def _sabotaged(name: str, look: Callable[..., T], *arguments: object) -> T:
    SABOTAGES[name].apply()
    return look(*arguments)


def nothing() -> None:
    """It is enough to have been taken out."""


def required(fence: Fence) -> int:
    """How much an update requires."""
    zone, soa = Name("example.org."), SOA(Name("ns1.example.org."), Name("hostmaster.example.org."), 7)
    change = RRsetChange(None, RRset("www.example.org.", "A", 60, ["192.0.2.1"]))
    plan = Plan(zone, soa, soa.with_serial(8), (change,), fence)
    update = dns.message.from_wire(dns_update.update_message(plan))
    assert isinstance(update, dns.update.UpdateMessage)
    assert update.update
    return len(update.prerequisite)


_FAILURE = {"code": "Unreachable", "message": "", "delay_s": 1.0, "must_read": False, "attempts": 1}
_TOGETHER = {"revision": 1, "soa": "", "look_s": 1.0, "has_read": False}
#: How a worker writes a delivery that it has claimed.
WRITES: dict[str, Callable[..., object]] = {
    "read": claims.read,
    "renew": lambda connection, claim: claims.renew(connection, claim, 60.0),
    "note": lambda connection, claim: claims.note(connection, claim, must_read=True),
    "finish": lambda connection, claim: claims.finish(
        connection, claim, delivered_revision=10, goal="present"
    ),
    "fail": lambda connection, claim: claims.fail(connection, claim, **_FAILURE),
    "postpone": lambda connection, claim: claims.postpone(connection, claim, 1.0, must_read=False),
    "give back": claims.give_back,
    "looked": lambda connection, claim: comparisons.looked(connection, claim, 1.0),
    "suspect": lambda connection, claim: comparisons.suspect(connection, claim, 1.0),
    "renew all": lambda connection, claim: convoys.renew_all(connection, [claim], 60.0),
    "give all back": lambda connection, claim: convoys.give_back_all(connection, [claim], must_read=False),
    "note all creating": lambda connection, claim: convoys.note_all_creating(connection, [claim]),
    "require all": lambda connection, claim: convoys.require_all(connection, [claim]),
    "finish all": lambda connection, claim: convoys.finish_all(
        connection, [{**_TOGETHER, **convoys.key(claim)}]
    ),
}


def writes_of_a_replaced_worker(folder: Path) -> set[str]:
    """Those that come through."""
    done = set()
    with a_world(folder, "one") as world:
        world.submit("create_zone", email="hostmaster@example.net")
        target_id = world.runtime._directory.by_name("default").target_ids["one"]
        with world.engine.begin() as connection:
            taken = [
                claims.claim_next(connection, target_id, "one", owner=owner, lease_s=-1.0) for owner in (1, 2)
            ]
        for name, write in WRITES.items():
            with world.engine.connect() as connection:
                try:
                    if write(connection, taken[0]) not in (False, set()):
                        done.add(name)
                except ClaimLost:
                    pass
                connection.rollback()
    return done


def values_out_of_order(folder: Path) -> list[str]:
    """What becomes of a client's second operation on a zone without its first: as a message, and as a row."""
    folder.mkdir()
    with a_world(folder, "one") as world:
        world.create()
        by_message = world.put("www", "192.0.2.1", order={"client": "a", "number": 2})
        second = {**PUT, "data": ["192.0.2.2"], "order": {"client": "b", "number": 2}}
        with world.engine.begin() as connection:
            intake.submit(connection, "row", parse_request("put_record", second))
        world.runtime.take_in()
        return [world.show(one).status.value for one in (by_message, "row")]


def status_after_a_repetition(folder: Path) -> str:
    folder.mkdir()
    with a_world(folder, "one") as world:
        world.create()
        order = {"client": "a", "number": 1}
        id_ = world.put("www", "192.0.2.1", order=order)
        world.end_of(id_)
        world.put("www", "192.0.2.1", order=order, operation_id=id_)
        return _status(world, id_)


def status_with_a_silent_nameserver(folder: Path) -> str:
    nowhere = {"host": "127.0.0.1", "port": 9}
    with a_world(folder, "one", pool={"nameservers": [nowhere]}) as world:
        id_ = world.submit("create_zone", email="hostmaster@example.net")
        world.end_of(id_)
        return _status(world, id_)


def _status(world: World, operation_id: str) -> str:
    return world.show(operation_id).status.value
