"""Promises 2 and 9: an operation happens once, and one that doesn't get on says why."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dev.stack import Stack
from dnsworker import Client, OperationFailed
from dnsworker.client.operation import Operation
from dnsworker.errors import WaitTimeout
from tests.acceptance.comparison import client_of, serial, texts, wait_for
from tests.acceptance.conftest import rows


@pytest.mark.parametrize("is_ordered", [True, False], ids=["numbered", "unnumbered"])
def test_the_same_id_again_changes_nothing(stack: Stack, zone: str, is_ordered: bool) -> None:
    id_ = str(uuid.uuid4())
    with client_of(stack, is_ordered=is_ordered) as client:
        first = client.put_record(zone, "www", "A", ["192.0.2.1"], operation_id=id_).wait(60)
        client.put_record(zone, "www", "A", ["192.0.2.2"]).wait(60)
        before = serial(stack.bind, zone)
        again = client.put_record(zone, "www", "A", ["192.0.2.1"], operation_id=id_).wait(60)
        assert again.serial == first.serial
        client.put_record(zone, "last", "A", ["192.0.2.3"]).wait(60)
    assert texts(stack.bind, f"www.{zone}", "A") == ["192.0.2.2"], "the repetition was not applied"
    assert len(rows(stack, f"SELECT 1 FROM journal WHERE operation_id = '{id_}'")) == 1
    assert serial(stack.bind, zone) == before + 1


def test_the_same_id_with_another_payload_is_refused(stack: Stack, client: Client, zone: str) -> None:
    id_ = str(uuid.uuid4())
    client.put_record(zone, "www", "A", ["192.0.2.1"], operation_id=id_).wait(60)
    reused = client.put_record(zone, "www", "A", ["192.0.2.66"], operation_id=id_)
    client.put_record(zone, "last", "A", ["192.0.2.3"]).wait(60)
    assert texts(stack.bind, f"www.{zone}", "A") == ["192.0.2.1"]
    with pytest.raises(OperationFailed) as refused:
        reused.wait(60)
    assert refused.value.code == "OperationIdReused"
    assert f"operation id {id_} was used before" in stack.logs(200)
    assert client.show_operation(id_).status.has_succeeded, "the first one's outcome stands"


def test_operation_show_explains_what_a_dead_target_holds_up(stack: Stack, client: Client, zone: str) -> None:
    stack.powerdns.stop()
    operation = client.put_record(zone, "www", "A", ["192.0.2.1"])
    wait_for(lambda: _report(operation, "powerdns")["attempts"] >= 2, "a second attempt", 20)
    with pytest.raises(WaitTimeout, match="powerdns") as still_waiting:
        operation.wait(0.5)
    assert still_waiting.value.outcome.status == "ACCEPTED"
    shown = stack.run("operation", "show", operation.id)
    for words in ("ACCEPTED", "powerdns", "no connection to the PowerDNS API", "attempt"):
        assert words in shown, shown
    report = _report(operation, "powerdns")
    assert not report["is_current"]
    assert report["next_attempt_at"]
    assert _report(operation, "bind")["is_current"], "the other target isn't held up"
    status = stack.run_json("status")
    assert status["operations"] == {"ACCEPTED": 1}
    assert status["oldest_operation"]["id"] == operation.id
    (target,) = [one for one in status["targets"] if one["name"] == "powerdns"]
    assert target["backlog"] == target["failing"] == 1
    assert "no connection" in target["last_error"]
    stack.powerdns.start()
    operation.wait(40)


def _report(operation: Operation, target: str) -> dict[str, Any]:
    found = (one.model_dump() for one in operation.outcome().targets if one.target == target)
    return next(found, {"attempts": 0})
