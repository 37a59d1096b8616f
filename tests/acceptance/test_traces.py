"""Traces of a running system, as a collector gets them: whoever submits, and however (docs/traces.md)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dev.program import ROOT
from dev.stack import Stack
from dnsworker import Client
from tests.acceptance.comparison import client_of, wait_for
from tests.documented import block
from tests.otlp import Received, Receiver, submitters_own

EMAIL = "hostmaster@example.org"
ZONE = "example.org."
PAGE = "docs/traces.md"
PASSWORD = "Basic b3RlbDpzM2NyZXQ="
MARK = {"deployment.environment": "production"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def traced(shared_servers: dict[str, Any], receiver: Receiver) -> Iterator[Stack]:
    documented = [line.removeprefix("export ") for line in block(PAGE, "Turn it on").splitlines()]
    settings = dict(line.split("=", 1) for line in documented)
    assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(":4318"), "the port of OTLP over HTTP"
    settings |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization={quote(PASSWORD)}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with Stack(workers=2, settings=settings, **shared_servers) as running:
        with client_of(running) as client:
            client.create_zone(ZONE, email=EMAIL).wait(60)
        yield running
        for worker in running.workers:
            assert "b3RlbDpzM2NyZXQ" not in worker.log, "however it is written"
            assert "opentelemetry" not in worker.log


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    return submitters_own(monkeypatch)


def tree(spans: list[Received], parent_id: str = "") -> dict[str, Any]:
    """Names, each with what is below it; without attempts that failed."""
    found: dict[str, Any] = {}
    for one in spans:
        if one.parent_id == parent_id and one.error is None:
            assert one.name not in found
            found[one.name] = tree(spans, one.span_id)
    return found


def expected(stack: Stack, kind: str, intake: str = "process dns.submit") -> dict[str, Any]:
    servers = [f"verify {server.address}:{server.port}" for server in (stack.bind, stack.powerdns)]
    return {kind: {name: {} for name in (intake, "deliver bind", "deliver powerdns", *servers)}}


def all_of(receiver: Receiver, trace_id: str, wanted: dict[str, Any]) -> list[Received]:
    """The spans of a trace, as soon as those that are wanted have come."""
    names = _names(wanted)

    def has_come() -> bool:
        found = [one.name for one in receiver.trace(trace_id) if one.error is None]
        return names <= set(found)

    wait_for(has_come, f"{names}")
    return receiver.trace(trace_id)


def _names(wanted: dict[str, Any]) -> set[str]:
    return set(wanted).union(*map(_names, wanted.values()))


def test_one_trace_leads_from_the_submitters_span_through_all_of_it(
    traced: Stack, receiver: Receiver
) -> None:
    code = block(PAGE, "From a service")
    subprocess.run([sys.executable, "-c", code], env=traced.process_env(), cwd=ROOT, timeout=60, check=True)
    wait_for(lambda: receiver.named("move the shop"), "the submitter's span")
    (root,) = receiver.named("move the shop")
    wanted = {"move the shop": {"send dns.submit": expected(traced, "put_record")}}
    spans = all_of(receiver, root.trace_id, wanted)
    assert tree(spans) == wanted
    by_name = {one.name: one for one in spans}
    bind = by_name[f"verify {traced.bind.address}:{traced.bind.port}"]
    assert bind.kind == "CLIENT"
    assert bind.attributes["dns.question.name"] == ZONE
    assert bind.attributes["server.port"] == traced.bind.port
    send, intake, delivery = (
        by_name[one] for one in ("send dns.submit", "process dns.submit", "deliver bind")
    )
    assert (send.kind, intake.kind, delivery.kind) == ("PRODUCER", "CONSUMER", "CLIENT")
    whole = by_name["put_record"]
    with client_of(traced) as client:
        outcome = client.show_operation(whole.attributes["dnsworker.operation.id"])
    assert whole.attributes["dnsworker.serial"] == outcome.serial
    assert whole.attributes["dnsworker.operation.status"] == outcome.status == "ACTIVE"
    # In the order in which it happened, by the clocks of this one machine.
    assert send.begun_ns <= intake.begun_ns <= delivery.begun_ns <= bind.ended_ns <= root.ended_ns
    for one in spans:
        assert one.error is None
        assert "192.0.2.3" not in str(one), "what is in a record is nobody's business"
        assert MARK.items() <= one.resource.items(), "the submitter here has the same variables"
        if one is not root:
            assert one.attributes["dnsworker.operation.id"] == outcome.id
        if one not in (root, send):
            assert one.resource["service.name"] == "dnsworker"
    assert {headers["authorization"] for headers in receiver.headers} == {PASSWORD}


def test_with_celery_alone_the_header_is_enough(
    traced: Stack, receiver: Receiver, own: InMemorySpanExporter
) -> None:
    broker = traced.env["DNSWORKER_BROKER_URL"]
    code = block(PAGE, "With Celery alone").replace("amqp://shop:secret@rabbit.example.net//", broker)
    names: dict[str, Any] = {}
    exec(code, names)
    names["app"].close()
    (root,) = own.get_finished_spans()
    _assert_below(root, receiver, expected(traced, "put_record"))


def test_a_long_message_is_traced_like_a_short_one(
    traced: Stack, receiver: Receiver, own: InMemorySpanExporter
) -> None:
    """It is taken in by a task of its own, and not in a batch."""
    text = "".join(f"w{number} 60 IN A 192.0.2.1\n" for number in range(1_000))
    with client_of(traced) as client, trace.get_tracer("shop").start_as_current_span("import"):
        client.import_zone("imported.test.", email=EMAIL, text=text)
    send, _ = own.get_finished_spans()
    _assert_below(send, receiver, expected(traced, "import_zone"))


def test_what_is_submitted_straight_into_the_database_is_traced_by_its_row(
    traced: Stack, receiver: Receiver, own: InMemorySpanExporter
) -> None:
    with (
        Client(database=traced.env["DNSWORKER_DATABASE_URL"]) as client,
        trace.get_tracer("shop").start_as_current_span("outbox"),
    ):
        client.create_zone("outbox.test.", email=EMAIL)
    send, _ = own.get_finished_spans()
    assert (send.name, send.attributes["messaging.system"]) == ("send operation", "dnsworker")
    _assert_below(send, receiver, expected(traced, "create_zone", "intake"))


def _assert_below(span: ReadableSpan, receiver: Receiver, wanted: dict[str, Any]) -> None:
    """What workers tell of an operation is all below its submitter's span."""
    spans = all_of(receiver, f"{span.context.trace_id:032x}", wanted)
    assert tree(spans, f"{span.context.span_id:016x}") == wanted, spans
