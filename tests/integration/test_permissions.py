"""What becomes of what permissions.yaml doesn't allow: at the intake, in the order, and of questions."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsworker import Client
from dnsworker.errors import Forbidden, OperationNotFound
from dnsworker.intake import Arrival
from dnsworker.operations import Outcome
from dnsworker.records import RRset
from tests.world import World, a_world

RULES: dict[str, Any] = {
    "default": "closed",
    "users": {
        "acme": [
            {"may": ["put", "delete"], "zones": "*", "names": "_acme-challenge.*", "types": "TXT"},
            {"may": "read", "zones": "*", "names": "_acme-challenge.*", "types": "TXT"},
        ],
        "shop": [{"may": "all", "zones": ["shop.example", "*.shop.example"]}],
        "team": [{"may": ["all", "force"], "zones": "*"}],
    },
}
TXT = {"name": "_acme-challenge", "type": "TXT", "data": ["x"]}
WWW = {"name": "www", "type": "A", "data": ["192.0.2.1"]}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "permissions.yaml"
    path.write_text(json.dumps(RULES), encoding="utf-8")
    return path


@pytest.fixture
def world(tmp_path: Path, rules: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", permissions=rules) as world:
        for zone in ("example.org.", "shop.example."):
            submit(world, "team", "create_zone", zone=zone, email="a@example.net")
            world.until(lambda: bool(world.servers["one"].zones.get(zone)), zone)  # noqa: B023
        yield world


def submit(world: World, user: str | None, kind: str, **arguments: Any) -> Outcome:
    """As a message of the user's brings it."""
    operation_id = arguments.pop("operation_id", None) or str(uuid.uuid4())
    return world.runtime.receive(operation_id, kind, {"zone": "example.org.", **arguments}, user)


def refused(outcome: Outcome) -> str:
    assert (outcome.status, outcome.code) == ("ERROR", "Forbidden"), outcome
    assert outcome.serial is None
    assert outcome.message is not None
    return outcome.message


def names_of(world: World) -> set[str]:
    found = world.runtime.ask("list_records", {"zone": "example.org."}, "team")
    return {one["name"] for one in found} - {"example.org."}


def test_what_is_not_allowed_ends_with_the_rule_and_changes_nothing(world: World) -> None:
    serial = world.row("SELECT serial FROM zone WHERE name = 'example.org.'").serial
    assert refused(submit(world, "acme", "put_record", **WWW)) == (
        "acme may not put A at www.example.org. in example.org.: no rule allows it"
    )
    assert "shop may not delete_zone example.org." in refused(submit(world, "shop", "delete_zone"))
    assert "nobody may not" in refused(submit(world, None, "put_record", **TXT))
    assert "acme may not force" in refused(submit(world, "acme", "put_record", **TXT, force=True))
    assert world.row("SELECT serial FROM zone WHERE name = 'example.org.'").serial == serial
    allowed = submit(world, "acme", "put_record", **TXT)
    assert (allowed.status, allowed.submitter) == ("ACCEPTED", "acme")
    # Refused by the rules, and not for what else is wrong with it: that would tell what there is.
    for zone in ("example.org.", "absent.example."):
        text = refused(submit(world, "shop", "delete_record", zone=zone, name="www", type="A"))
        assert text == f"shop may not delete A at www.{zone} in {zone}: no rule allows it"


def test_one_forbidden_change_of_many_forbids_them_all(world: World) -> None:
    changes = [{"action": "put", **TXT}, {"action": "delete", "name": "www", "type": "A"}]
    submit(world, "team", "put_record", **WWW)
    assert "delete A at www" in refused(submit(world, "acme", "change_zone", changes=changes))
    assert names_of(world) == {"www.example.org."}
    assert submit(world, "acme", "change_zone", changes=changes[:1]).status == "ACCEPTED"


def test_a_refused_one_takes_its_place_in_the_order(world: World) -> None:
    def order(number: int) -> dict[str, Any]:
        return {"order": {"client": "c", "number": number}}

    last = submit(world, "acme", "put_record", **{**TXT, "data": ["3"]}, **order(3))
    held = submit(world, "acme", "put_record", **WWW, **order(2))
    assert (last.status, held.status, held.code) == ("HELD", "HELD", "Forbidden")
    first = submit(world, "acme", "put_record", **{**TXT, "data": ["1"]}, **order(1))
    assert first.status == "ACCEPTED"
    shown = {one.id: world.runtime.ask("show_operation", {"id": one.id}, "acme") for one in (held, last)}
    assert (shown[held.id]["status"], shown[held.id]["code"]) == ("ERROR", "Forbidden")
    assert shown[last.id]["status"] == "ACCEPTED"
    assert names_of(world) == {"_acme-challenge.example.org."}
    assert world.signals.told[held.id].code == "Forbidden"


def test_many_that_come_together_are_judged_each(world: World) -> None:
    arrivals = [
        Arrival(str(uuid.uuid4()), "put_record", {"zone": "example.org.", **what, "name": name}, user)
        for user, what, name in [
            ("acme", TXT, "_acme-challenge.a"), ("acme", WWW, "b"), ("team", WWW, "c"), (None, WWW, "d"),
            ("stranger", WWW, "e"), ("acme", TXT, "_acme-challenge.f"),
        ]
    ]  # fmt: skip
    taken = world.runtime.receive_all(arrivals)
    codes = [taken.fates[one.operation_id].code for one in arrivals]
    assert codes == [None, "Forbidden", None, "Forbidden", "Forbidden", None]
    assert names_of(world) == {
        f"{name}.example.org." for name in ("_acme-challenge.a", "_acme-challenge.f", "c")
    }


def test_a_repeated_message_is_not_judged_again(world: World, rules: Path) -> None:
    first = submit(world, "acme", "put_record", **TXT)
    no = submit(world, "acme", "put_record", **WWW)
    others = {"default": "closed", "users": {"acme": [{"may": "put", "zones": "*", "types": "A"}]}}
    replace_rules(rules, others)
    world.runtime._permissions._look_at = 0.0
    assert "put TXT" in refused(submit(world, "acme", "put_record", **TXT))
    assert submit(world, "acme", "put_record", **TXT, operation_id=first.id).status == "ACCEPTED"
    assert "put A" in refused(submit(world, "acme", "put_record", **WWW, operation_id=no.id))
    assert submit(world, "acme", "put_record", **WWW).status == "ACCEPTED"


def replace_rules(path: Path, rules: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(rules), encoding="utf-8")
    os.replace(part, path)


def test_whoever_has_the_database_is_not_judged(world: World) -> None:
    with Client(database=world.engine) as client:
        operation = client.put_record("example.org", **WWW)
        world.runtime.take_in()
        assert operation.outcome().status == "ACCEPTED"
        assert operation.outcome().submitter is None
    # What has no submitter isn't the own operation of those who have no name.
    with pytest.raises(OperationNotFound):
        world.runtime.ask("show_operation", {"id": operation.id})


def test_a_question_is_refused_before_anything_is_looked_up(world: World) -> None:
    ask = world.runtime.ask
    submit(world, "acme", "put_record", **TXT)
    for kind in ("show_zone", "export_zone", "list_records", "show_history"):
        assert ask(kind, {"zone": "shop.example"}, "shop")
        for user in ("shop", "acme", "stranger", None):
            for zone in ("example.org", "absent.example"):
                with pytest.raises(Forbidden, match=rf"may not read {zone}\.: no rule"):
                    ask(kind, {"zone": zone}, user)
    own = {"zone": "example.org", "name": "_acme-challenge", "type": "TXT"}
    assert [one["data"] for one in ask("list_records", own, "acme")] == [['"x"']]


def test_a_dry_run_tells_no_more_than_the_rules(world: World) -> None:
    def dry(user: str | None, kind: str, **arguments: Any) -> dict[str, Any]:
        asked = {"task": kind, "arguments": {"zone": "example.org", **arguments}}
        return world.runtime.ask("dry_run", asked, user)  # type: ignore[no-any-return]

    foreseen = dry("acme", "put_record", **TXT)
    assert (foreseen["code"], [one["after"]["data"] for one in foreseen["rrsets"]]) == (None, [['"x"']])
    forced = dry("acme", "put_record", **TXT, force=True)
    assert (forced["code"], forced["rrsets"], forced["current_serial"]) == ("Forbidden", [], None)
    for user, kind, arguments in [
        ("acme", "put_record", WWW),
        ("shop", "delete_zone", {}),
        (None, "put_record", TXT),
    ]:
        with pytest.raises(Forbidden, match="may not read"):
            dry(user, kind, **arguments)
    assert dry("team", "delete_zone")["becomes"] == "deleted"
    submit(world, "team", "put_record", **WWW, operation_id="ticket-1")
    asked = {"task": "put_record", "arguments": {"zone": "example.org", **TXT}, "id": "ticket-1"}
    for user, words in [("team", "for put_record example.org."), ("acme", "was used before; every")]:
        reused = world.runtime.ask("dry_run", asked, user)
        assert reused["code"] == "OperationIdReused"
        assert words in reused["message"]


def test_an_operation_is_shown_to_whom_it_concerns_and_to_others_there_is_none(world: World) -> None:
    mine = submit(world, "acme", "put_record", **TXT)
    theirs = submit(world, "team", "put_record", **WWW)
    unreadable = world.runtime.receive(str(uuid.uuid4()), "put_record", {"zone": "a..b"}, "acme")
    assert world.runtime.ask("show_operation", {"id": mine.id}, "acme")["submitter"] == "acme"
    for one in (mine, theirs, unreadable):
        assert world.runtime.ask("show_operation", {"id": one.id}, "team")["id"] == one.id
        for user in ("shop", "stranger", None, *([] if one is not theirs else ["acme"])):
            with pytest.raises(OperationNotFound) as caught:
                world.runtime.ask("show_operation", {"id": one.id}, user)
            with pytest.raises(OperationNotFound) as absent:
                world.runtime.ask("show_operation", {"id": "absent"}, user)
            assert caught.value.message.replace(one.id, "absent") == absent.value.message


def test_what_others_changed_is_told_only_to_who_may_read_the_zone(tmp_path: Path, rules: Path) -> None:
    with a_world(tmp_path, "one", permissions=rules, pool={"on_drift": "report"}) as world:
        submit(world, "team", "create_zone", email="a@example.net")
        world.until(lambda: "example.org." in world.servers["one"].zones, "the zone")
        world.servers["one"].edit(
            "example.org.", add=[RRset("secret.example.org.", "A", 60, ["192.0.2.66"])], serial=4_000_000_000
        )
        mine = submit(world, "acme", "put_record", **TXT)
        theirs = submit(world, "team", "put_record", **WWW)

        def drift_as(user: str, one: Outcome) -> str | None:
            (target,) = world.runtime.ask("show_operation", {"id": one.id}, user)["targets"]
            return target["drift"]  # type: ignore[no-any-return]

        world.until(lambda: {mine.id, theirs.id} <= set(world.signals.told), "the ends")
        assert "secret.example.org." in (drift_as("team", mine) or "")
        assert "secret.example.org." in (world.signals.told[theirs.id].targets[0].drift or "")
        assert drift_as("acme", mine) is None
        assert world.signals.told[mine.id].targets[0].drift is None
