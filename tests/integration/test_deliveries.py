"""What deliveries decide, against servers that refuse, forget, fall silent and are edited by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dnsworker.backend import Capabilities
from dnsworker.contents import ZoneContents
from dnsworker.convergence import Convergence
from dnsworker.errors import BackendError, ClaimLost, OperationIdReused, RecordRejected, ServerFailure
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import SOA, RRset
from dnsworker.reports.system import show_status
from dnsworker.store import claims, deliveries
from tests.stubserver import StubNameserver, showing
from tests.world import MemoryBackend, World, a_world

WWW = ("www.example.org.", "A")
BAD = "192.0.2.66"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        yield world


@pytest.fixture
def two(tmp_path: Path) -> Iterator[World]:
    """Two targets, of which half the witnesses are enough."""
    with a_world(tmp_path, "one", "two", pool={"threshold_percentage": 50}) as world:
        world.create()
        yield world


def refuses_bad(rrsets: Collection[RRset]) -> BackendError | None:
    return RecordRejected("no such addresses here") if any(BAD in one.data for one in rrsets) else None


def foreign_zone(serial: int = 7, **records: str) -> ZoneContents:
    soa = SOA(Name("ns.elsewhere.net."), Name("root.elsewhere.net."), serial)
    rrsets = [RRset(f"{name}.example.org.", "A", 300, [value]) for name, value in records.items()]
    return ZoneContents.of(
        Name("example.org."), soa, [RRset("example.org.", "NS", 60, ["ns.elsewhere.net."]), *rrsets]
    )


# --- promise 2: once ----------------------------------------------------------------------------------------


def test_a_redelivered_operation_changes_nothing(world: World) -> None:
    first = world.put("www", "192.0.2.1", operation_id="op-1")
    world.end_of(first)
    before = world.row("SELECT count(*), max(revision) FROM journal")
    world.put("www", "192.0.2.1", operation_id="op-1")
    world.deliver()
    assert world.row("SELECT count(*), max(revision) FROM journal") == before


def test_an_operation_id_with_another_payload_is_refused(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1", operation_id="op-1"))
    with pytest.raises(OperationIdReused, match="op-1 was used before"):
        world.put("www", "192.0.2.2", operation_id="op-1")
    assert world.records() == {WWW: ("192.0.2.1",)}


def test_an_operation_submitted_again_under_a_new_number_holds_nothing_up(world: World) -> None:
    def order(number: int) -> dict[str, object]:
        return {"client": "c", "number": number, "skips": []}

    world.end_of(world.put("www", "192.0.2.1", operation_id="op-1", order=order(1)))
    world.put("www", "192.0.2.1", operation_id="op-1", order=order(2))
    assert world.end_of(world.put("www", "192.0.2.2", order=order(3))).status is Status.ACTIVE


# --- rejections ---------------------------------------------------------------------------------------------


def test_a_rejected_operation_is_taken_back_and_its_neighbours_go_through(world: World) -> None:
    world.servers["one"].judge = refuses_bad
    good, bad, later = world.put("a", "192.0.2.1"), world.put("www", BAD), world.put("b", "192.0.2.2")
    assert world.end_of(bad).code == "RecordRejected"
    assert "no such addresses here" in (world.show(bad).message or "")
    assert world.end_of(good).status is Status.ACTIVE
    assert world.end_of(later).status is Status.ACTIVE
    assert set(world.served("one")) == {("a.example.org.", "A"), ("b.example.org.", "A")}
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == world.records()


def test_a_rejected_replacement_brings_back_what_was_there(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    world.servers["one"].judge = refuses_bad
    assert world.end_of(world.put("www", BAD)).status is Status.ERROR
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == world.records() == {WWW: ("192.0.2.1",)}


def test_a_change_of_several_rrsets_is_taken_back_as_a_whole(world: World) -> None:
    world.servers["one"].judge = refuses_bad
    wishes = [
        {"action": "put", "name": "a", "type": "A", "data": ["192.0.2.1"]},
        {"action": "put", "name": "b", "type": "A", "data": [BAD]},
    ]
    outcome = world.do("change_zone", changes=wishes)
    assert outcome.code == "RecordRejected"
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == world.records() == {}


def test_what_one_target_of_two_refuses_is_withheld_there_and_shown(two: World) -> None:
    two.servers["two"].judge = refuses_bad
    operation = two.put("www", BAD)
    assert two.end_of(operation).status is Status.ACTIVE
    words = "target two refuses www.example.org. A: no such addresses here"
    # DEGRADED it may be earlier, while the change is on its way to the second.
    two.until(lambda: words in (two.zone()["reason"] or ""), "the refusal was not shown")
    assert two.zone()["status"] == "DEGRADED"
    with two.engine.connect() as connection:
        refused = show_status(connection)["withheld"]
    assert refused["rrsets"] == 1
    latest = {key: refused["latest"][0][key] for key in ("target", "name", "type", "message")}
    assert latest == {"target": "two", "name": WWW[0], "type": "A", "message": "no such addresses here"}
    assert two.served("one") == {WWW: (BAD,)}
    assert two.served("two") == {}
    assert two.end_of(two.put("other", "192.0.2.9")).status is Status.ACTIVE
    assert two.served("two") == {("other.example.org.", "A"): ("192.0.2.9",)}


def test_a_withheld_rrset_is_tried_again_when_it_changes(two: World) -> None:
    two.servers["two"].judge = refuses_bad
    two.end_of(two.put("www", BAD))
    two.end_of(two.put("www", "192.0.2.1"))
    two.wait_for_zone("ACTIVE")
    assert two.served("two") == {WWW: ("192.0.2.1",)}


def test_what_was_withheld_is_sent_when_the_zone_was_made_anew_meanwhile(two: World) -> None:
    """The journal says that it was there before and is there again; the target never had it."""
    two.servers["two"].judge = refuses_bad
    two.end_of(two.put("www", BAD))
    two.until(lambda: two.row("SELECT count(*) FROM withheld")[0] == 1, "nothing was withheld")
    two.servers["two"].is_down = True
    two.submit("delete_zone", force=True)
    two.submit("create_zone", email="hostmaster@example.net")
    two.put("www", BAD)
    two.servers["two"].judge = lambda rrsets: None
    two.servers["two"].is_down = False
    two.wait_for_zone("ACTIVE")
    assert two.served("two") == two.served("one") == {WWW: (BAD,)}


def test_a_withheld_rrset_is_tried_again_on_operation_retry(two: World) -> None:
    two.servers["two"].judge = refuses_bad
    operation = two.put("www", BAD)
    two.end_of(operation)
    two.servers["two"].judge = lambda rrsets: None
    with two.engine.begin() as connection:
        two.signals.woken += deliveries.retry_operation(connection, operation)
    two.wait_for_zone("ACTIVE")
    assert two.served("two") == {WWW: (BAD,)}


def test_a_failure_that_recurs_only_with_some_contents_is_a_rejection_whatever_its_code(world: World) -> None:
    def fails_on_bad(rrsets: Collection[RRset]) -> BackendError | None:
        return ServerFailure("SERVFAIL") if any(BAD in one.data for one in rrsets) else None

    world.servers["one"].judge = fails_on_bad
    bad, good = world.put("www", BAD), world.put("a", "192.0.2.1")
    outcome = world.end_of(bad)
    assert (outcome.code, "SERVFAIL" in (outcome.message or "")) == ("RecordRejected", True)
    assert world.end_of(good).status is Status.ACTIVE
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == {("a.example.org.", "A"): ("192.0.2.1",)}


def test_a_creation_with_contents_that_the_server_refuses_ends_in_error_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    with a_world(tmp_path, "one") as world:
        world.servers["one"].judge = refuses_bad
        text = f"@ 60 IN SOA a. b. 1 2 3 4 5\n@ NS a.\ngood A 192.0.2.1\nwww A {BAD}\n"
        operation = world.submit("import_zone", text=text)
        dependent = world.put("later", "192.0.2.3")
        outcome = world.end_of(operation)
        assert outcome.code == "RecordRejected", outcome.message
        assert world.end_of(dependent).code == "ZoneNotFound"
        world.until(lambda: not world.servers["one"].zones, "the zone is still served")


def test_a_record_that_the_server_takes_without_a_word_and_forgets_is_a_rejection(world: World) -> None:
    world.servers["one"].forgets.add((Name(WWW[0]), "A"))
    outcome = world.end_of(world.put("www", "192.0.2.1"))
    assert outcome.code == "RecordRejected"
    assert "doesn't have it" in (outcome.message or "")


# --- what is there already ----------------------------------------------------------------------------------


def test_somebody_elses_zone_is_not_touched(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        foreign = foreign_zone(www="192.0.2.200")
        world.servers["one"].zones[Name("example.org.")] = foreign
        outcome = world.do("create_zone", email="a@example.net")
        assert outcome.code == "ZoneExists"
        assert "force=True" in (outcome.message or "")
        world.runtime.sweep()
        world.deliver()
        assert world.servers["one"].zones[Name("example.org.")] == foreign
        assert "delete" not in world.servers["one"].requests


def test_somebody_elses_zone_is_not_waited_for_to_go(tmp_path: Path) -> None:
    with StubNameserver(showing(7, www="192.0.2.200")) as server:
        pool = {"nameservers": [{"host": "127.0.0.1", "port": server.port, "target": "one"}]}
        with a_world(tmp_path, "one", pool=pool) as world:
            world.servers["one"].zones[Name("example.org.")] = foreign_zone(www="192.0.2.200")
            world.do("create_zone", email="a@example.net")
            world.until(lambda: world.row("SELECT status FROM zone").status == "DELETED", "it is waited for")
            assert world.row("SELECT look_at FROM zone").look_at is None


@pytest.mark.parametrize("is_forced", [True, False])
def test_deleting_a_zone_leaves_a_blocked_target_alone_until_it_is_meant(
    world: World, is_forced: bool
) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    many = [RRset(f"h{i}.example.org.", "A", 60, ["192.0.2.7"]) for i in range(40)]
    world.servers["one"].edit("example.org.", add=many, serial=world.zone()["serial"] - 1)
    world.put("a", "192.0.2.2")
    world.until(lambda: world.row("SELECT state FROM delivery").state == "held", "nothing is blocked")
    if is_forced:
        world.succeed("delete_zone", force=True)
    else:
        operation = world.submit("delete_zone")
        world.runtime.sweep()
        world.deliver()
        assert world.servers["one"].zones
        with world.engine.begin() as connection:
            world.signals.woken += deliveries.retry_operation(connection, operation)
        assert world.end_of(operation).status is Status.ACTIVE
    assert not world.servers["one"].zones


def test_somebody_elses_zone_is_taken_over_with_force(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.servers["one"].show(foreign_zone(serial=4_000_000_000, www="192.0.2.200"))
        world.succeed("create_zone", email="a@example.net", force=True)
        assert world.served("one") == {}


def test_an_equal_zone_is_adopted_and_its_serial_rises(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        soa = SOA(Name("ns1.example.net."), Name("a.example.net."), 2_026_112_301)
        same = ZoneContents.of(
            Name("example.org."), soa, [RRset("example.org.", "NS", 3600, ["ns1.example.net."])]
        )
        world.servers["one"].show(same)
        world.succeed("create_zone", email="a@example.net")
        assert "create" not in world.servers["one"].requests
        assert world.servers["one"].serials[Name("example.org.")][-1] > 2_026_112_301


# --- self-healing -------------------------------------------------------------------------------------------


def test_a_zone_that_is_gone_is_created_again_with_the_next_change(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    world.servers["one"].zones.clear()
    world.end_of(world.put("a", "192.0.2.2"))
    assert world.served("one") == {WWW: ("192.0.2.1",), ("a.example.org.", "A"): ("192.0.2.2",)}


def test_an_edit_behind_our_back_is_noticed_and_repaired(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    serial = world.zone()["serial"]
    world.servers["one"].edit(
        "example.org.", add=[RRset(WWW[0], "A", 60, ["198.51.100.1"])], serial=serial - 1
    )
    world.end_of(world.put("a", "192.0.2.2"))
    assert world.served("one")[WWW] == ("192.0.2.1",)
    assert "www.example.org. A" in world.zone()["targets"][0]["last_repair"]


def test_unexplained_contents_under_a_serial_ahead_of_ours_stop_all_writing(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    ahead = world.zone()["serial"] + 1000
    edited = RRset("hand.example.org.", "A", 60, ["198.51.100.1"])
    world.servers["one"].edit("example.org.", add=[edited], serial=ahead)
    operation = world.put("a", "192.0.2.2")
    world.until(lambda: world.row("SELECT state FROM delivery").state == "ahead", "the target is not AHEAD")
    assert edited.key in world.servers["one"].zones[Name("example.org.")].rrsets
    found = world.show(operation)
    assert found.status is Status.ACCEPTED
    assert f"serial {ahead} at the target is ahead of ours" in (found.message or "")


@pytest.mark.parametrize("lead", [-1, 1000])
def test_force_brings_a_blocked_target_to_our_side_even_if_nothing_changes(world: World, lead: int) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    many = [RRset(f"h{i}.example.org.", "A", 60, ["192.0.2.7"]) for i in range(40)]
    world.servers["one"].edit("example.org.", add=many, serial=world.zone()["serial"] + lead)
    world.put("a", "192.0.2.2")
    world.until(
        lambda: world.row("SELECT state FROM delivery").state in ("held", "ahead"), "nothing is blocked"
    )
    world.end_of(world.put("www", "192.0.2.1", force=True))
    assert world.served("one") == world.records()
    world.wait_for_zone("ACTIVE")


def test_a_higher_serial_over_equal_contents_lifts_ours(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    ahead = world.zone()["serial"] + 1000
    world.servers["one"].edit("example.org.", serial=ahead)
    world.end_of(world.put("a", "192.0.2.2"))
    assert world.zone()["serial"] > ahead
    assert world.servers["one"].serials[Name("example.org.")][-1] > ahead


def test_a_repair_that_would_empty_a_zone_is_held_back(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    many = [RRset(f"h{i}.example.org.", "A", 60, ["192.0.2.7"]) for i in range(40)]
    serial = world.zone()["serial"]
    world.servers["one"].edit("example.org.", add=many, serial=serial - 1)
    world.put("a", "192.0.2.2")
    world.until(
        lambda: world.row("SELECT state FROM delivery").state == "held", "the repair is not held back"
    )
    assert len(world.served("one")) == 41
    assert "removes 40 of the" in world.zone()["reason"]


def test_an_answer_lost_after_the_change_was_made_converges(world: World) -> None:
    world.servers["one"].answers_to_lose = 1
    world.end_of(world.put("www", "192.0.2.1"))
    assert world.served("one") == {WWW: ("192.0.2.1",)}


def test_an_answer_lost_after_the_zone_was_created_converges(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.servers["one"].answers_to_lose = 1
        world.create()
        assert (
            world.wait_for_zone("ACTIVE")["serial"] == world.servers["one"].serials[Name("example.org.")][-1]
        )


# --- goals, not verbs ---------------------------------------------------------------------------------------


def test_a_zone_deleted_and_created_again_while_its_target_is_down_is_replaced_and_never_vanishes(
    world: World,
) -> None:
    world.end_of(world.put("old", "192.0.2.1"))
    before = world.servers["one"].serials[Name("example.org.")][-1]
    world.servers["one"].is_down = True
    deleted = world.submit("delete_zone")
    world.deliver()
    created = world.submit("create_zone", email="new@example.net")
    changed = world.put("www", "192.0.2.2")
    world.deliver()
    world.servers["one"].requests.clear()
    world.servers["one"].is_down = False
    assert world.end_of(changed).status is Status.ACTIVE
    assert world.end_of(deleted).status.has_succeeded
    assert world.end_of(created).status.has_succeeded
    assert "delete" not in world.servers["one"].requests
    assert world.served("one") == {WWW: ("192.0.2.2",)}
    assert world.servers["one"].serials[Name("example.org.")][-1] > before


def test_serials_go_on_after_a_zone_was_deleted_and_created_again(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    world.succeed("delete_zone")
    assert not world.servers["one"].zones
    world.create()
    world.end_of(world.put("www", "192.0.2.1"))
    serials = world.servers["one"].serials[Name("example.org.")]
    assert serials == sorted(set(serials))


def test_ten_edits_of_one_rrset_are_one_change(world: World) -> None:
    operations = [world.put("www", f"192.0.2.{value}") for value in range(10)]
    world.servers["one"].requests.clear()
    ends = [world.end_of(one).status for one in operations]
    assert world.servers["one"].requests.count("apply") == 1
    assert ends[-1] is Status.ACTIVE
    assert set(ends[:-1]) == {Status.SUPERSEDED}


def test_a_plan_of_several_messages_broken_off_in_the_middle_goes_on(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.servers["one"].capabilities = Capabilities(fencing="server", max_batch=10)
        world.create()
        wishes = [
            {"action": "put", "name": f"h{i}", "type": "TXT", "data": [f'"{"x" * 250}"'] * 1}
            for i in range(400)
        ]
        world.servers["one"].answers_to_lose = 1
        world.succeed("change_zone", changes=wishes)
        assert len(world.served("one")) == 400
        assert world.row("SELECT last_repair FROM delivery").last_repair is None
        serials = world.servers["one"].serials[Name("example.org.")]
        assert serials == sorted(set(serials))


# --- claims -------------------------------------------------------------------------------------------------


def test_a_worker_that_was_replaced_writes_nothing_down(world: World) -> None:
    world.put("www", "192.0.2.1")
    known = world.runtime._directory.by_name("default")
    target_id = known.target_ids["one"]
    with world.engine.begin() as connection:
        stale = claims.claim_next(connection, target_id, "one", owner=1, lease_s=-1.0)
    with world.engine.begin() as connection:
        fresh = claims.claim_next(connection, target_id, "one", owner=2, lease_s=60.0)
    assert stale is not None
    assert fresh is not None
    backend = MemoryBackend("one", MemoryBackend.options_model())
    with pytest.raises(ClaimLost):
        Convergence(world.engine, known, stale, backend, world.settings).run()
    Convergence(world.engine, known, fresh, backend, world.settings).run()
    assert world.served("one") == {WWW: ("192.0.2.1",)}


def test_claims_of_a_dead_worker_are_taken_over_at_once(world: World) -> None:
    operation = world.put("www", "192.0.2.1")
    known = world.runtime._directory.by_name("default")
    with world.engine.begin() as connection:
        claim = claims.claim_next(connection, known.target_ids["one"], "one", owner=4242, lease_s=3600.0)
    assert claim is not None
    assert world.end_of(operation).status is Status.ACTIVE


def test_w19_a_dead_target_costs_a_few_attempts_and_not_one_for_each_zone(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", "two", pool={"threshold_percentage": 50}) as world:
        world.servers["two"].is_down = True
        operations = [
            world.submit("create_zone", zone=f"z{number}.example.", email="a@example.net")
            for number in range(40)
        ]
        world.deliver()
        world.deliver()
        assert len(world.servers["two"].requests) < 15
        for one in operations:
            assert world.end_of(one).status is Status.ACTIVE
        world.servers["two"].is_down = False
        world.until(lambda: len(world.servers["two"].zones) == 40, "the target has not caught up")


def test_a_down_target_is_explained(world: World) -> None:
    world.servers["one"].is_down = True
    operation = world.put("www", "192.0.2.1")
    world.deliver()
    world.until(lambda: world.zone()["reason"] not in (None, "is on its way"), "no reason was given")
    found = world.show(operation)
    assert found.status is Status.ACCEPTED
    assert "nobody answers" in (found.message or "")
    (target,) = found.targets
    assert target.attempts >= 1
    assert target.next_attempt_at is not None
    assert "nobody answers" in world.zone()["reason"]


def test_a_serial_that_somebody_has_raised_unseen_is_not_undercut_by_a_new_zone(world: World) -> None:
    world.servers["one"].edit("example.org.", serial=2_026_112_701)  # a date, later than Unix time
    world.succeed("delete_zone")
    world.create()
    assert world.servers["one"].serials[Name("example.org.")][-1] > 2_026_112_701


def test_an_operation_that_changes_nothing_is_active_at_once(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    world.wait_for_zone("ACTIVE")
    world.servers["one"].requests.clear()
    assert world.end_of(world.put("www", "192.0.2.1")).status is Status.ACTIVE
    assert world.servers["one"].requests == []


def test_nothing_stays_due_when_all_is_done(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    world.wait_for_zone("ACTIVE")
    with world.engine.connect() as connection:
        due = sa.text("SELECT count(*) FROM delivery WHERE due_at IS NOT NULL OR owner IS NOT NULL")
        looks = sa.text("SELECT count(*) FROM zone WHERE look_at IS NOT NULL")
        assert connection.execute(due).scalar() == 0
        assert connection.execute(looks).scalar() == 0


def test_a_worker_that_was_replaced_notes_no_refusal(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        server = world.servers["one"]
        server.capabilities = Capabilities(fencing="none", reads_back=True)  # as PowerDNS
        world.create()
        first = world.put("www", "192.0.2.1")
        known = world.runtime._directory.by_name("default")
        with world.engine.begin() as connection:
            stale = claims.claim_next(connection, known.target_ids["one"], "one", owner=1, lease_s=-1.0)
        assert stale is not None
        seen: list[str] = []

        def replace_it(what: str) -> None:
            seen.append(what)
            if seen[:1] == ["apply"] and len(seen) == 2:  # between its request and its read-back
                world.put("www", "192.0.2.2")
                world.deliver()

        server.before_request = replace_it
        backend = MemoryBackend("one", MemoryBackend.options_model())
        with pytest.raises(ClaimLost):
            Convergence(world.engine, known, stale, backend, world.settings).run()
        assert world.row("SELECT count(*) FROM withheld")[0] == 0
        assert world.end_of(first).status is Status.SUPERSEDED
