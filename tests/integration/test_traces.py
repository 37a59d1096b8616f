"""What a worker's spans say of operations, with an exporter in memory: one trace each, all in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import (
    dns_attributes,
    messaging_attributes,
)
from opentelemetry.semconv.attributes import error_attributes, network_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from dnsworker.errors import RecordRejected, ServerFailure
from dnsworker.intake import Arrival
from dnsworker.operations import Status
from dnsworker.tracing import context
from dnsworker.tracing.spans import Spans
from dnsworker.tracing.tracing import Tracing
from tests.world import World, a_world

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
TRACEPARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"
#: Names that OpenTelemetry has given; all others must be ours.
CONVENTIONS = {
    value
    for module in (
        dns_attributes, messaging_attributes, error_attributes, network_attributes, server_attributes,
    )
    for name, value in vars(module).items() if name.isupper()
}  # fmt: skip


class Collector:
    """What was exported so far."""

    def __init__(self) -> None:
        self.memory = InMemorySpanExporter()
        self.tracing = Tracing(lambda: Spans(SimpleSpanProcessor(self.memory)))

    def spans(self, trace_id: int | None = None) -> list[ReadableSpan]:
        """In the order in which they were made."""
        found = self.memory.get_finished_spans()
        return [one for one in found if trace_id is None or one.context.trace_id == trace_id]

    def named(self, name: str, operation_id: str) -> list[ReadableSpan]:
        return [
            one
            for one in self.spans()
            if one.name == name and one.attributes["dnsworker.operation.id"] == operation_id
        ]


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def world(tmp_path: Path, collector: Collector) -> Iterator[World]:
    with a_world(tmp_path, "one", "two", tracing=collector.tracing) as world:
        world.create()
        yield world


def put(world: World, id_: str, traceparent: str | None, **arguments: Any) -> None:
    given = {"zone": "example.org.", "name": "www", "type": "A", "data": ["192.0.2.1"], **arguments}
    world.runtime.receive_all([Arrival(id_, "put_record", given, "shop", traceparent)])


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def end_of(world: World, collector: Collector, id_: str) -> Status:
    """Its end, when the span of it was exported."""
    outcome = world.end_of(id_)
    wait_for(lambda: collector.named(outcome.kind, id_))
    return outcome.status


def test_one_trace_leads_from_the_submitters_span_to_the_outcome(world: World, collector: Collector) -> None:
    put(world, "traced", TRACEPARENT)
    assert end_of(world, collector, "traced") is Status.ACTIVE
    wait_for(lambda: len(collector.spans(TRACE)) == 4)
    (whole,) = collector.named("put_record", "traced")
    assert (whole.parent.span_id, whole.parent.is_remote) == (SPAN, True)
    parts = {one.name: one for one in collector.spans(TRACE) if one is not whole}
    assert set(parts) == {"process dns.submit", "deliver one", "deliver two"}
    assert {one.parent.span_id for one in parts.values()} == {whole.context.span_id}
    assert parts["process dns.submit"].kind is SpanKind.CONSUMER
    assert parts["deliver one"].kind is SpanKind.CLIENT
    assert whole.start_time <= parts["deliver one"].start_time <= parts["deliver one"].end_time
    outcome = world.show("traced")
    assert whole.attributes == {
        "dnsworker.operation.id": "traced", "dnsworker.operation.kind": "put_record",
        "dnsworker.zone": "example.org.", "dnsworker.pool": "default",
        "dnsworker.operation.status": "ACTIVE", "dnsworker.serial": outcome.serial,
    }  # fmt: skip
    assert dict(parts["process dns.submit"].attributes) == {
        "messaging.system": "rabbitmq", "messaging.destination.name": "dns.submit",
        "messaging.rabbitmq.destination.routing_key": "intake", "messaging.operation.type": "process",
        "messaging.operation.name": "process", "messaging.message.id": "traced",
        "dnsworker.operation.id": "traced", "dnsworker.operation.kind": "put_record",
        "dnsworker.zone": "example.org.", "dnsworker.operation.status": "ACCEPTED",
    }  # fmt: skip
    assert whole.end_time == int(outcome.finished_at.timestamp() * 1e9)


def test_every_name_is_the_conventions_or_our_own(world: World, collector: Collector) -> None:
    world.servers["one"].judge = lambda rrsets: ServerFailure("no")
    put(world, "a", TRACEPARENT)
    world.deliver()
    world.servers["one"].judge = lambda rrsets: None
    end_of(world, collector, "a")
    names = {name for one in collector.spans() for name in one.attributes}
    assert {name for name in names if not name.startswith("dnsworker.")} <= CONVENTIONS
    assert {"error.type", "messaging.system", "dnsworker.target"} <= names


def test_an_operation_without_a_trace_has_one_of_its_own(world: World, collector: Collector) -> None:
    put(world, "alone", None)
    end_of(world, collector, "alone")
    own = collector.spans(context.trace_id_of("alone"))
    wait_for(lambda: len(collector.spans(context.trace_id_of("alone"))) == 4)
    (whole,) = collector.named("put_record", "alone")
    assert whole.parent is None
    assert {one.parent.span_id for one in own if one.name != "put_record"} == {whole.context.span_id}
    assert world.row("SELECT traceparent FROM operation WHERE id = 'alone'").traceparent is None


def test_what_a_submitter_does_not_keep_is_kept_by_nobody(world: World, collector: Collector) -> None:
    put(world, "left out", TRACEPARENT[:-2] + "00")
    world.end_of("left out")
    put(world, "kept", TRACEPARENT, name="other")
    end_of(world, collector, "kept")
    assert {one.attributes["dnsworker.operation.id"] for one in collector.spans(TRACE)} == {"kept"}


def test_a_refused_operations_span_says_so(world: World, collector: Collector) -> None:
    given = {"zone": "example.org.", "name": "absent", "type": "A"}
    world.runtime.receive_all([Arrival("refused", "delete_record", given, None, TRACEPARENT)])
    assert end_of(world, collector, "refused") is Status.ERROR
    (whole,) = collector.named("delete_record", "refused")
    assert (whole.status.status_code, whole.attributes["error.type"]) == (StatusCode.ERROR, "RecordNotFound")
    assert "absent.example.org. A" in whole.status.description
    (process,) = collector.named("process dns.submit", "refused")
    assert process.attributes["error.type"] == "RecordNotFound"


def test_a_rejected_operations_span_has_the_servers_words_and_no_secret(
    world: World, collector: Collector
) -> None:
    said = "refused by https://admin:s3cret@api.example.net/ token=s3cret"
    for server in world.servers.values():
        server.judge = lambda rrsets: RecordRejected(said)
    put(world, "rejected", TRACEPARENT, type="TXT", data=['"an-acme-token"'])
    assert end_of(world, collector, "rejected") is Status.ERROR
    (whole,) = collector.named("put_record", "rejected")
    assert "refused by https://" in whole.status.description
    told = [f"{one.name} {dict(one.attributes)} {one.status.description}" for one in collector.spans()]
    assert not [one for one in told if "s3cret" in one or "acme-token" in one or "shop" in one]


def test_each_attempt_that_fails_has_a_span_with_its_error(world: World, collector: Collector) -> None:
    world.servers["one"].is_down = True
    put(world, "slow", TRACEPARENT)
    world.until(lambda: len(collector.named("deliver one", "slow")) >= 2, "two attempts")
    world.servers["one"].is_down = False
    end_of(world, collector, "slow")
    wait_for(lambda: collector.named("deliver one", "slow")[-1].status.status_code is StatusCode.UNSET)
    *failed, _ = collector.named("deliver one", "slow")
    for one in failed:
        assert one.attributes["error.type"] == "Unreachable"
        assert (one.status.status_code, one.status.description) == (StatusCode.ERROR, "nobody answers")
    assert len(collector.named("deliver two", "slow")) == 1


def test_of_many_that_wait_the_first_ten_are_told_of_an_attempt(world: World, collector: Collector) -> None:
    world.deliver()
    world.servers["one"].is_down = True
    for number in range(12):
        put(world, f"o{number:02}", None, name=f"w{number}")
    world.until(lambda: collector.named("deliver one", "o00"), "an attempt")
    world.servers["one"].is_down = False
    for number in range(12):
        end_of(world, collector, f"o{number:02}")
        wait_for(lambda id_=f"o{number:02}": collector.named("deliver one", id_)[-1].status.is_ok)
    attempts = {number: len(collector.named("deliver one", f"o{number:02}")) for number in range(12)}
    assert min(attempts[number] for number in range(10)) >= 2
    assert (attempts[10], attempts[11]) == (1, 1)


def test_a_delivery_of_several_operations_is_in_the_trace_of_each(world: World, collector: Collector) -> None:
    world.deliver()
    for number in range(3):
        put(world, f"o{number}", TRACEPARENT if number == 1 else None, name=f"w{number}")
    for number in range(3):
        end_of(world, collector, f"o{number}")
    wait_for(lambda: all(collector.named("deliver one", f"o{number}") for number in range(3)))
    first, *others = [collector.named("deliver one", f"o{number}")[0] for number in range(3)]
    assert [one.attributes["dnsworker.delivery.operations"] for one in (first, *others)] == [3, 3, 3]
    wholes = [collector.named("put_record", f"o{number}")[0].context for number in range(3)]
    assert [one.context.span_id for one in first.links] == [one.span_id for one in wholes[1:]]
    for one, whole in zip(others, wholes[1:], strict=True):
        assert [link.context.span_id for link in one.links] == [first.context.span_id]
        assert (one.context.trace_id, one.parent.span_id) == (whole.trace_id, whole.span_id)
    assert wholes[1].trace_id == TRACE


def test_one_that_was_held_is_in_its_own_trace_when_its_turn_comes(
    world: World, collector: Collector
) -> None:
    put(world, "later", TRACEPARENT, order={"client": "c", "number": 2})
    put(world, "first", None, name="a", order={"client": "c", "number": 1})
    end_of(world, collector, "later")
    (held,) = collector.named("process dns.submit", "later")
    (taken,) = collector.named("intake", "later")
    assert held.attributes["dnsworker.operation.status"] == "HELD"
    assert taken.attributes["dnsworker.operation.status"] == "ACCEPTED"
    assert {held.context.trace_id, taken.context.trace_id} == {TRACE}


def test_a_repeated_message_makes_no_second_span(world: World, collector: Collector) -> None:
    for _ in range(3):
        put(world, "again", TRACEPARENT)
    end_of(world, collector, "again")
    put(world, "again", TRACEPARENT)
    put(world, "mark", None, name="other")
    end_of(world, collector, "mark")
    assert len(collector.named("process dns.submit", "again")) == 1
    assert len(collector.named("put_record", "again")) == 1


def test_zones_made_and_removed_have_their_deliveries_too(world: World, collector: Collector) -> None:
    """What is read as a whole, or not at all, has no changes at hand that say whose it is."""
    given = {"zone": "new.example.", "email": "a@example.net"}
    world.runtime.receive_all([Arrival("made", "create_zone", given, None, TRACEPARENT)])
    end_of(world, collector, "made")
    world.runtime.receive_all([Arrival("gone", "delete_zone", {"zone": "new.example."}, None, TRACEPARENT)])
    end_of(world, collector, "gone")
    for id_ in ("made", "gone"):
        for target in ("one", "two"):
            wait_for(lambda id_=id_, target=target: len(collector.named(f"deliver {target}", id_)) == 1)


def test_a_repair_belongs_to_no_operation(world: World, collector: Collector) -> None:
    put(world, "before", TRACEPARENT)
    end_of(world, collector, "before")
    before = len(collector.named("deliver one", "before"))
    world.servers["one"].edit("example.org.", remove=[("www.example.org.", "A")])
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET must_read = true, due_at = '2020-01-01 00:00:00'"))
    world.runtime.deliver("one")
    assert ("www.example.org.", "A") in world.served("one")
    put(world, "mark", None, name="other")
    end_of(world, collector, "mark")
    assert len(collector.named("deliver one", "before")) == before == 1


def test_what_an_operator_cancels_ends_its_span_when_that_is_told(world: World, collector: Collector) -> None:
    put(world, "held", TRACEPARENT, order={"client": "c", "number": 2})
    statement = (
        "UPDATE operation SET status = 'ERROR', code = 'Cancelled', message = 'cancelled', is_untold = true,"
        " finished_at = '2030-01-01 00:00:00' WHERE id = 'held'"
    )
    with world.engine.begin() as connection:
        connection.execute(sa.text(statement.replace("2030", "2026")))
    world.runtime.sweep()
    wait_for(lambda: collector.named("put_record", "held"))
    assert collector.named("put_record", "held")[0].attributes["error.type"] == "Cancelled"


def test_nothing_is_noted_where_nobody_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[Any] = []
    monkeypatch.setattr(Tracing, "note", lambda self, note: noted.append(note))
    with a_world(tmp_path) as world:
        world.create()
        put(world, "untraced", TRACEPARENT)
        world.end_of("untraced")
    assert noted == []
