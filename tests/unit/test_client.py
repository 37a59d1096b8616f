"""The client without a broker: what it refuses at once, ids, numbers, messages."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

import dnsworker
from dnsworker import Change, Client, OperationFailed, Outcome, Status, SubmissionFailed, WaitTimeout
from dnsworker.client.ids import new_id
from dnsworker.client.mailbox import value_of
from dnsworker.client.numbering import Numbering
from dnsworker.client.operation import Operation
from dnsworker.errors import (
    ConfigError,
    InvalidRecord,
    InvalidRequest,
    NoAnswer,
    OperationNotFound,
    ZoneNotFound,
)
from dnsworker.requests.kinds import OPERATIONS
from dnsworker.requests.request import Request


class MemoryWay:
    """Keeps what is submitted; tells the outcomes that a test puts in."""

    def __init__(self) -> None:
        self.submitted: list[tuple[str, Request]] = []
        self.outcomes: dict[str, Outcome] = {}
        self.preview: dict[str, Any] = {}
        self.asked: dict[str, Any] = {}

    def submit(self, operation_id: str, request: Request) -> None:
        self.submitted.append((operation_id, request))

    def show(self, operation_id: str) -> Outcome:
        if operation_id not in self.outcomes:
            raise OperationNotFound
        return self.outcomes[operation_id]

    def wait(self, operation_id: str, timeout_s: float) -> Outcome | None:
        return self.outcomes.get(operation_id)

    def ask(self, kind: str, arguments: dict[str, Any]) -> Any:
        if kind == "dry_run":
            self.asked = arguments
            return self.preview
        return {"kind": kind, **arguments}

    def close(self) -> None: ...
    def after_fork(self) -> None: ...


@pytest.fixture
def way() -> MemoryWay:
    return MemoryWay()


@pytest.fixture
def client(way: MemoryWay) -> Client:
    made = Client("amqp://user:secret@broker.example//")
    made._way = way
    return made


def test_a_submission_is_normalised(client: Client, way: MemoryWay) -> None:
    client.create_record("Example.org", "WWW", "a", ["192.0.2.2", "192.0.2.1"], ttl=300)
    assert way.submitted[0][1].payload() == {
        "zone": "example.org.",
        "name": "www.example.org.",
        "type": "A",
        "data": ["192.0.2.1", "192.0.2.2"],
        "ttl": 300,
    }


def test_every_task_has_a_method_that_submits_it(client: Client, way: MemoryWay) -> None:
    client.create_zone("example.org", email="hostmaster@example.org")
    client.update_zone("example.org", ttl=60)
    client.delete_zone("example.org")
    client.create_record("example.org", "www", "A", ["192.0.2.1"])
    client.update_record("example.org", "www", "A", ["192.0.2.1"])
    client.put_record("example.org", "www", "A", "192.0.2.1")
    client.delete_record("example.org", "www", "A")
    client.change_zone("example.org", [Change.put("www", "A", ["192.0.2.1"]), Change.delete("old", "A")])
    client.import_zone("example.org", text="@ A 192.0.2.1")
    client.restore_zone("example.org", serial=7)
    client.restore_zone("example.org", to=datetime(2026, 11, 27, 9, 30, tzinfo=UTC))
    assert way.submitted[-1][1].payload()["to"] == "2026-11-27T09:30:00+00:00"
    client.move_zone("example.org", pool="old", to="new")
    assert {request.kind for _, request in way.submitted} == set(OPERATIONS)


def test_every_query_has_a_method(client: Client) -> None:
    assert client.show_zone("example.org")["zone"] == "example.org."
    assert client.list_records("example.org", type="A") == {
        "kind": "list_records", "zone": "example.org.", "type": "A",
    }  # fmt: skip
    assert client.export_zone("example.org", pool="inner")["pool"] == "inner"  # type: ignore[index]
    assert client.show_history("example.org", name="www", limit=5)["name"] == "www"


def test_a_dry_run_is_a_question_and_its_handle_tells_the_answer(client: Client, way: MemoryWay) -> None:
    way.preview = {
        "kind": "put_record",
        "zone": "example.org.",
        "serial": 8,
        "current_serial": 7,
        "created": 1,
    }
    operation = client.put_record("example.org", "www", "A", ["192.0.2.1"], dry_run=True)
    assert way.submitted == []
    assert way.asked == {
        "task": "put_record", "id": operation.id,
        "arguments": {
            "zone": "example.org.", "name": "www.example.org.", "type": "A", "data": ["192.0.2.1"],
        },
    }  # fmt: skip
    assert operation.preview is not None
    assert (operation.preview.created, operation.wait().serial, operation.status()) == (1, 8, Status.ACCEPTED)
    way.preview = {"kind": "put_record", "zone": "example.org.", "code": "Forbidden", "message": "not yours"}
    refused = client.put_record("example.org", "www", "A", ["192.0.2.1"], dry_run=True)
    with pytest.raises(OperationFailed, match="Forbidden: not yours"):
        refused.wait()
    assert client.put_record("example.org", "www", "A", ["192.0.2.1"]).preview is None


def test_every_method_that_changes_something_can_only_ask(client: Client) -> None:
    for kind in OPERATIONS:
        assert "dry_run" in inspect.signature(getattr(Client, kind)).parameters


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"data": ["192.0.2.1.5"]}, InvalidRecord),
        ({"data": []}, InvalidRecord),
        ({"ttl": -1}, InvalidRequest),
        ({"name": "www.example.org"}, InvalidRequest),
        ({"comment": "x" * 501}, InvalidRequest),
    ],
)
def test_what_cannot_be_right_is_never_sent(
    client: Client, way: MemoryWay, arguments: dict[str, Any], error: type[Exception]
) -> None:
    given = {"zone": "example.org", "name": "www", "type": "A", "data": ["192.0.2.1"]} | arguments
    with pytest.raises(error):
        client.put_record(**given)
    assert way.submitted == []


def test_the_clients_pool_is_the_default_of_every_call(way: MemoryWay) -> None:
    client = Client("amqp://broker.example//", pool="inner")
    client._way = way
    client.delete_zone("example.org")
    client.delete_zone("example.org", pool="outer")
    assert [request.pool for _, request in way.submitted] == ["inner", "outer"]


def test_no_password_is_shown() -> None:
    client = Client("amqp://user:secret@broker.example//", "redis://:secret@redis.example/0")
    assert "secret" not in repr(client) + repr(client.operation("x"))


def test_without_a_broker_or_database_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DNSWORKER_DATA_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="DNSWORKER_BROKER_URL"):
        Client()


def test_without_a_result_url_waiting_says_what_is_missing() -> None:
    client = Client("amqp://broker.example//")
    with pytest.raises(ConfigError, match="DNSWORKER_RESULT_URL"):
        client.operation("x").wait()


def outcome(status: Status, **more: Any) -> Outcome:
    return Outcome(id="x", kind="put_record", zone="example.org.", status=status, **more)


def test_waiting_returns_a_success_and_raises_a_failure(client: Client, way: MemoryWay) -> None:
    for status in (Status.ACTIVE, Status.SUPERSEDED):
        way.outcomes["x"] = outcome(status)
        assert client.operation("x").wait() == way.outcomes["x"]
    way.outcomes["x"] = outcome(Status.ERROR, code="RecordExists", message="there is one")
    with pytest.raises(OperationFailed, match="RecordExists: there is one") as caught:
        client.operation("x").wait()
    assert (caught.value.code, caught.value.outcome) == ("RecordExists", way.outcomes["x"])


def test_waiting_too_long_tells_how_far_it_got(client: Client, way: MemoryWay) -> None:
    way.outcomes["x"] = outcome(Status.ACCEPTED, message="bind-1 doesn't answer")
    with pytest.raises(WaitTimeout, match="is ACCEPTED after 5 s: bind-1 doesn't answer"):
        client.operation("x").wait(timeout=5)


def test_an_operation_that_no_worker_has_seen_yet_is_pending(client: Client) -> None:
    assert client.delete_zone("example.org").status() is Status.PENDING
    with pytest.raises(OperationNotFound):
        client.operation("unknown").status()


def test_ids_are_version_7_and_rise() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(one).version for one in ids} == {7}
    assert {uuid.UUID(one).variant for one in ids} == {uuid.RFC_4122}


def test_ids_are_unique_over_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = [
            one for some in threads.map(lambda _: [new_id() for _ in range(500)], range(8)) for one in some
        ]
    assert len(set(ids)) == 4000


def submit(
    numbering: Numbering, fails: SubmissionFailed | None = None, zone: str = "a."
) -> tuple[int, list[int]]:
    try:
        with numbering.place(zone, 1) as order:
            if fails:
                raise fails
    except SubmissionFailed:
        pass
    return order.number, order.skips


def test_numbers_rise_by_one_for_each_zone() -> None:
    numbering = Numbering()
    assert [submit(numbering)[0] for _ in range(3)] == [1, 2, 3]
    assert submit(numbering, zone="b.") == (1, [])


def test_a_number_whose_fate_is_unknown_is_named_until_a_message_that_names_it_is_confirmed() -> None:
    numbering, lost = Numbering(), SubmissionFailed(may_have_arrived=True)
    assert submit(numbering) == (1, [])
    assert submit(numbering, lost) == (2, [])
    assert submit(numbering, lost) == (3, [2])
    assert submit(numbering) == (4, [2, 3])
    assert submit(numbering) == (5, [])


def test_a_number_that_was_never_sent_is_given_again() -> None:
    numbering = Numbering()
    assert submit(numbering, SubmissionFailed(may_have_arrived=False)) == (1, [])
    assert submit(numbering) == (1, [])


def test_an_interrupted_submission_makes_its_number_void() -> None:
    numbering = Numbering()
    with pytest.raises(KeyboardInterrupt), numbering.place("a.", 1):
        raise KeyboardInterrupt
    assert submit(numbering) == (2, [1])


def test_threads_get_every_number_once_and_leave_in_their_order() -> None:
    numbering, left = Numbering(), list[int]()

    def work(_: int) -> None:
        for _ in range(50):
            with numbering.place("a.", 10) as order:
                left.append(order.number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert left == list(range(1, 401))


def test_whoever_does_not_get_its_turn_is_told_in_time() -> None:
    numbering, entered, leave = Numbering(), threading.Event(), threading.Event()

    def hold() -> None:
        with numbering.place("a.", 1):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    with pytest.raises(SubmissionFailed, match="still waiting"), numbering.place("a.", 0.01):
        pass
    leave.set()
    holder.join()
    assert submit(numbering) == (2, [])


def test_a_workers_error_comes_back_as_the_same_error() -> None:
    told = {"exc_type": "ZoneNotFound", "exc_message": ["no zone a."], "exc_module": "dnsworker.errors"}
    with pytest.raises(ZoneNotFound, match="no zone a"):
        value_of({"status": "FAILURE", "result": told})
    with pytest.raises(NoAnswer, match="KeyError"):
        value_of({"status": "FAILURE", "result": {"exc_type": "KeyError", "exc_message": ["x"]}})


def test_the_package_is_a_table_of_contents_and_needs_no_database() -> None:
    for name in dnsworker.__all__:
        assert hasattr(dnsworker, name)
    code = (
        "import sys, dnsworker; dnsworker.Client('amqp://broker.example//');"
        "print([name for name in ('sqlalchemy', 'psycopg2', 'backends', 'tasks') if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == "[]"


def test_a_forked_process_gets_other_numbers_and_connections() -> None:
    client = Client("amqp://broker.example//")
    before = client._way._numbering, client._way._publisher._lock  # type: ignore[attr-defined]
    client._way.after_fork()
    assert client._way._numbering is not before[0]  # type: ignore[attr-defined]
    assert client._way._publisher._lock is not before[1]  # type: ignore[attr-defined]


def test_the_handle_can_be_shown() -> None:
    assert repr(Operation(MemoryWay(), "x", "put_record", "a.")) == "<Operation x put_record a.>"
    assert json.loads(json.dumps(outcome(Status.ACTIVE).model_dump(mode="json")))["status"] == "ACTIVE"
