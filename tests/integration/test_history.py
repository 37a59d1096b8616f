"""What a zone was: told with its makers, and brought back exactly, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsworker import cancellation, history
from dnsworker.errors import AmbiguousZone, InvalidRequest, RecordRejected, ZoneNotFound
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.store import zones
from dnsworker.tables import journal
from tests.intakes import EMAIL, Bench
from tests.world import World, a_world


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if request.param == "sqlite":
        made = Bench(f"sqlite:///{Path(tmp_path_factory.mktemp('history')) / 'db'}")
    else:
        made = Bench(request.getfixturevalue(request.param).create_database("history"))
    yield made
    made.engine.dispose()


# --- back to what it was ------------------------------------------------------------------------------------

owners = st.sampled_from(["a", "b", "c.b", "@"])
values = st.integers(1, 4).map(lambda number: [f"192.0.2.{number}"])
steps = st.one_of(
    st.tuples(
        st.just("put_record"),
        st.fixed_dictionaries({"name": owners, "data": values, "ttl": st.sampled_from([60, 300])}),
    ),
    st.tuples(st.just("delete_record"), st.fixed_dictionaries({"name": owners})),
    st.tuples(st.just("update_zone"), st.fixed_dictionaries({"ttl": st.integers(1, 3)})),
    st.tuples(
        st.just("update_zone"),
        st.fixed_dictionaries({"refresh": st.integers(3000, 3002), "email": st.just("other@example.net")}),
    ),
    st.tuples(
        st.just("import_zone"),
        st.fixed_dictionaries(
            {"text": st.sampled_from(["@ 5 A 192.0.2.9\nn 5 AAAA ::1\n", "a 7 A 192.0.2.1\n"])}
        ),
    ),
    st.tuples(st.just("delete_zone"), st.just({})),
    st.tuples(st.just("create_zone"), st.fixed_dictionaries({"email": st.just(EMAIL)})),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(walk=st.lists(steps, min_size=2, max_size=14), data=st.data())
def test_every_serial_that_a_zone_had_can_be_gone_back_to(
    bench: Bench, walk: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    zone = bench.new_zone()
    was = {bench.row(zone).serial: bench.contents(zone)}
    for kind, given_ in walk:
        arguments = {"zone": zone, "force": True, **given_}
        if kind.endswith("_record"):
            arguments["type"] = "A"
        bench.submit(kind, **arguments)
        was.setdefault(bench.row(zone).serial, bench.contents(zone))
    for serial in data.draw(st.permutations(list(was))):
        before = bench.row(zone).serial
        fate = bench.submit("restore_zone", zone=zone, serial=serial, force=True)
        if was[serial] is None:
            assert fate.code == "InvalidRequest"
            assert "was deleted: there is nothing to bring back" in str(fate.message)
        else:
            assert fate.status is Status.ACCEPTED, fate.message
            assert bench.contents(zone) == was[serial]
            assert bench.row(zone).serial >= before, "the serial never goes back"


def test_a_time_is_that_of_the_last_change_before_it(bench: Bench) -> None:
    zone = bench.new_zone()
    serials = [bench.put(zone, "www", f"192.0.2.{number}") for number in (1, 2, 3)]
    with bench.engine.begin() as connection:
        start = datetime.now(UTC) - timedelta(days=3)
        for day, serial in enumerate(serials):
            at = start + timedelta(days=day)
            connection.execute(sa.update(journal).where(journal.c.serial == serial).values(at=at))
    day_2 = start + timedelta(days=1, hours=5)
    bench.serial("restore_zone", zone=zone, to=day_2.isoformat())
    assert bench.contents(zone)[1][1].data == ("192.0.2.2",)
    fate = bench.submit("restore_zone", zone=zone, to="2001-01-01T00:00:00Z")
    assert f"there was no zone {zone} here at 2001-01-01T00:00:00+00:00: it begins with" in str(fate.message)
    later = datetime.now(UTC) + timedelta(days=1)
    assert "is still to come" in str(bench.submit("restore_zone", zone=zone, to=later.isoformat()).message)


def test_what_others_changed_since_goes_too_and_what_comes_later_stays(bench: Bench) -> None:
    zone = bench.new_zone()
    good = bench.put(zone, "www")
    bench.put(zone, "of-another")
    bench.serial("restore_zone", zone=zone, serial=good)
    bench.put(zone, "later")
    assert [rrset.name for rrset in bench.contents(zone)[1]] == [zone, f"later.{zone}", f"www.{zone}"]


def test_the_guard_holds_for_a_restore(bench: Bench) -> None:
    zone = bench.new_zone()
    empty = bench.row(zone).serial
    for number in range(4):
        bench.put(zone, f"host{number}")
    fate = bench.submit("restore_zone", zone=zone, serial=empty)
    assert (fate.code, fate.message) == (
        "UnsafeChange",
        f"this removes 4 of the 5 RRsets of {zone}, more than 30%; say force=True if it is meant",
    )
    ns = bench.serial("put_record", zone=zone, name="@", type="NS", data=["ns9.example.net."], force=True)
    bench.serial("put_record", zone=zone, name="@", type="NS", data=["ns8.example.net."], force=True)
    assert "changes the NS records of" in str(bench.submit("restore_zone", zone=zone, serial=ns).message)
    assert bench.serial("restore_zone", zone=zone, serial=empty, force=True)


@pytest.mark.parametrize(
    ("distance", "words"),
    [(-(2**30), "there was no zone"), (+1000, "has not come to serial")],
)
def test_a_serial_that_the_zone_never_had_is_refused(bench: Bench, distance: int, words: str) -> None:
    zone = bench.new_zone()
    fate = bench.submit("restore_zone", zone=zone, serial=bench.row(zone).serial + distance)
    assert words in str(fate.message)


def test_a_serial_between_two_changes_names_the_change_before(bench: Bench) -> None:
    zone = bench.new_zone()
    serials = [bench.put(zone, "www", f"192.0.2.{number}") for number in (1, 2)]
    row = bench.row(zone)
    with bench.engine.begin() as connection:
        zones.update(connection, row.id, seen_serial=serials[1] + 10)
    bench.put(zone, "www", "192.0.2.3")
    fate = bench.submit("restore_zone", zone=zone, serial=serials[1] + 5)
    assert f"the last one before it gave it {serials[1]}, at " in str(fate.message)


def test_serials_are_compared_on_their_circle(bench: Bench) -> None:
    """A zone that has gone past the end of the numbers has earlier serials that are greater."""
    zone = bench.new_zone()
    high = 2**32 - 2
    row = bench.row(zone)
    with bench.engine.begin() as connection:
        zones.update(connection, row.id, serial=high, seen_serial=high)
        connection.execute(sa.update(journal).where(journal.c.zone_id == row.id).values(serial=high))
    serials = [bench.put(zone, "www", f"192.0.2.{number}") for number in (1, 2, 3)]
    assert serials == [high + 1, 1, 2], "0 is passed over"
    bench.serial("restore_zone", zone=zone, serial=high + 1)
    assert bench.contents(zone)[1][1].data == ("192.0.2.1",)
    assert "has not come to serial" in str(bench.submit("restore_zone", zone=zone, serial=900).message)
    assert "there was no zone" in str(bench.submit("restore_zone", zone=zone, serial=high - 900).message)


def test_a_deleted_zone_comes_back_where_it_was(bench: Bench) -> None:
    zone = bench.new_zone(pool="other", ttl=77)
    good = bench.put(zone, "www")
    before = bench.contents(zone)
    gone = bench.serial("delete_zone", zone=zone)
    back = bench.serial("restore_zone", zone=zone, serial=good)
    assert bench.contents(zone) == before
    assert back > gone
    assert bench.history(zone)["pool"] == "other"
    assert bench.submit("restore_zone", zone=f"never.{zone}", serial=1).code == "ZoneNotFound"


def test_a_name_that_two_pools_have_lost_is_ambiguous(bench: Bench) -> None:
    zone = bench.new_zone()
    bench.serial("create_zone", zone=zone, email=EMAIL, pool="other")
    for pool in ("default", "other"):
        bench.serial("delete_zone", zone=zone, pool=pool)
    fate = bench.submit("restore_zone", zone=zone, serial=1)
    assert fate.code == "AmbiguousZone"
    assert f"zone {zone} was in the pools default, other: say which" in str(fate.message)
    with pytest.raises(AmbiguousZone, match="is, or was, in the pools default, other"):
        bench.history(zone)
    assert bench.history(zone, pool="other")["status"] == "PENDING"


# --- told ---------------------------------------------------------------------------------------------------


def test_each_change_is_told_with_its_maker_and_its_rrsets(bench: Bench) -> None:
    zone = bench.new_zone()
    bench.put(zone, "www", comment="ticket 4711")
    bench.submit("update_zone", user="shop", zone=zone, ttl=60)
    bench.serial("delete_zone", zone=zone)
    found = bench.history(zone)
    assert (found["zone"], found["pool"], found["older"]) == (zone, "default", None)
    deleted, updated, put, created = found["changes"]
    assert [one["kind"] for one in found["changes"]] == [
        "delete_zone", "update_zone", "put_record", "create_zone",
    ]  # fmt: skip
    assert [one["becomes"] for one in found["changes"]] == ["deleted", None, None, "created"]
    assert (put["comment"], updated["who"]) == ("ticket 4711", "shop")
    assert put["rrsets"] == [
        {
            "name": f"www.{zone}", "type": "A",
            "before": None, "after": {"ttl": 3600, "data": ["192.0.2.1"]},
        }
    ]  # fmt: skip
    assert updated["settings"] == [{"name": "ttl", "before": 3600, "after": 60}]
    assert (created["created"], put["created"], deleted["deleted"]) == (1, 1, 2)
    assert found["begins"]["serial"] == created["serial"]
    assert found["begins"]["is_all"]


def test_who_has_no_name_at_the_broker_is_told_by_the_clients(bench: Bench) -> None:
    zone = bench.new_zone()
    order = {"client": "a-client", "number": 1, "skips": []}
    bench.put(zone, "www", order=order)
    assert bench.history(zone)["changes"][0]["who"] == "a-client"


def test_pages_lead_from_the_latest_change_to_the_first(bench: Bench) -> None:
    zone = bench.new_zone()
    serials = [bench.row(zone).serial, *(bench.put(zone, "www", f"192.0.2.{n}") for n in range(1, 7))]
    told: list[int] = []
    page = bench.history(zone, limit=3)
    while True:
        told += [one["serial"] for one in page["changes"]]
        if page["older"] is None:
            break
        page = bench.history(zone, limit=3, before=page["older"])
    assert told == serials[::-1]
    with pytest.raises(InvalidRequest, match="has no change with serial 5"):
        bench.history(zone, before=5)


def test_one_name_or_one_serial_can_be_asked_for(bench: Bench) -> None:
    zone = bench.new_zone()
    wish = [
        {"action": "put", "name": name, "type": "A", "data": ["192.0.2.1"]}
        for name in ("www", *(f"host{number}" for number in range(60)))
    ]
    many = bench.serial("change_zone", zone=zone, changes=wish)
    bench.put(zone, "mail")
    (only,) = bench.history(zone, name="www")["changes"]
    assert (only["serial"], [one["name"] for one in only["rrsets"]]) == (many, [f"www.{zone}"])
    in_short = bench.history(zone)["changes"][1]
    assert (in_short["created"], len(in_short["rrsets"]), in_short["is_cut"]) == (61, history.SHOWN, True)
    (whole,) = bench.history(zone, serial=many)["changes"]
    assert (len(whole["rrsets"]), whole["is_cut"]) == (61, False)


def test_there_is_no_history_of_what_never_was(bench: Bench) -> None:
    with pytest.raises(ZoneNotFound, match=r"there never was a zone never\.example"):
        bench.history("never.example.")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as made:
        made.create()
        yield made


def test_what_was_refused_is_told_with_what_undid_it(world: World) -> None:
    world.servers["one"].judge = lambda rrsets: (
        RecordRejected("no such thing") if any(one.data == ("192.0.2.66",) for one in rrsets) else None
    )
    good = world.zone()["serial"]
    refused = world.end_of(world.put("www", "192.0.2.66"))
    assert refused.code == "RecordRejected"
    undone, done, created = world.runtime.ask("show_history", {"zone": "example.org"})["changes"]
    assert [one["is_taken_back"] for one in (undone, done, created)] == [True, False, False]
    assert undone["operation"] == done["operation"] == refused.id
    assert done["reason"].startswith("RecordRejected: www.example.org. A refused by target one")
    assert (undone["rrsets"][0]["before"], undone["rrsets"][0]["after"]) == (
        done["rrsets"][0]["after"], None,
    )  # fmt: skip
    assert world.do("restore_zone", serial=good).status is Status.ACTIVE


def test_a_cancelled_deletion_is_told_as_a_zone_that_came_back(world: World) -> None:
    world.servers["one"].is_down = True
    deletion = world.submit("delete_zone")
    cancellation.cancel(world.engine, deletion)
    undone, done, _ = world.runtime.ask("show_history", {"zone": "example.org"})["changes"]
    assert (undone["becomes"], undone["is_taken_back"]) == ("created", True)
    assert (done["becomes"], done["reason"]) == ("deleted", "Cancelled: cancelled by operator")


def test_a_restored_zone_that_a_target_has_of_its_own_is_deleted_again(world: World) -> None:
    """As any creation that is refused."""
    theirs = world.servers["one"].zones[Name("example.org.")]
    serial = world.show(world.put("www", "192.0.2.1")).serial  # by the clock: not always the next one
    world.succeed("delete_zone")
    world.servers["one"].show(theirs)
    refused = world.do("restore_zone", serial=serial)
    assert refused.code == "ZoneExists"
    with pytest.raises(ZoneNotFound):
        world.zone()
