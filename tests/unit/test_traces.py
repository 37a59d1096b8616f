"""Where an operation is in a trace, what a submitter sends along, and when nothing of it is done at all."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from dnsworker import tracing as package
from dnsworker.client.ids import new_id
from dnsworker.errors import SubmissionFailed
from dnsworker.messages import Message
from dnsworker.tracing import spans, tracing
from dnsworker.tracing.context import Place, place_of, readable, span_id_of, trace_id_of
from dnsworker.tracing.notes import End
from dnsworker.tracing.spans import Spans
from dnsworker.tracing.submitting import INTO_DATABASE, over_rabbitmq, sending
from dnsworker.tracing.tracing import Tracing, is_wanted
from tests.otlp import submitters_own

PLACE = Place(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, True)
WAY = over_rabbitmq("dns.submit", "intake")
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318"}


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_place_is_read_as_it_was_written(trace_id: int, span_id: int, is_sampled: bool) -> None:
    place = Place(trace_id, span_id, is_sampled)
    assert len(place.traceparent) == 55, "the column's length"
    assert place_of(place.traceparent) == place


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (PLACE.traceparent[:-2] + "ff", PLACE.traceparent),
        (PLACE.traceparent[:-2] + "02", PLACE.traceparent[:-2] + "00"),
        ("01" + PLACE.traceparent[2:] + "-what-comes-later", PLACE.traceparent),
        (PLACE.traceparent + "-more", None),
        ("ff" + PLACE.traceparent[2:], None),
        (PLACE.traceparent.upper(), None),
        (f"00-{0:032x}-{1:016x}-01", None),
        (f"00-{1:032x}-{0:016x}-01", None),
        (PLACE.traceparent + "\n", None),
        ("01" + PLACE.traceparent[2:] + "-" + "x" * 1_000, None),
        ("", None),
        (b"bytes", None),
        (17, None),
        (None, None),
    ],
)
def test_of_what_a_submitter_sends_what_can_be_read_is_kept(sent: object, kept: str | None) -> None:
    assert readable(sent) == kept


@given(st.text(max_size=64), st.text(max_size=64))
def test_ids_follow_from_the_operations_own(one: str, other: str) -> None:
    for make, bits in ((span_id_of, 64), (trace_id_of, 128)):
        assert 0 < make(one) < 2**bits
        assert (make(one) == make(other)) == (one == other)


def test_the_traces_of_operations_are_sampled_at_the_rate_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Samplers look at the low bits of a trace's id, in which UUIDs are much alike."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    maker = Spans()
    sampled = sum(maker.place_of(new_id(), "put_record", None).is_sampled for _ in range(5_000))
    assert 350 < sampled < 650
    assert maker.place_of("any", "put_record", PLACE).is_sampled, "the submitter has decided that"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    return submitters_own(monkeypatch)


def test_a_submission_within_a_span_is_a_span_and_is_sent_along(own: InMemorySpanExporter) -> None:
    with (
        trace.get_tracer("shop").start_as_current_span("checkout") as root,
        sending(WAY, "id", "put_record", "example.org.") as traceparent,
    ):
        pass
    send, _ = own.get_finished_spans()
    assert traceparent == Place(send.context.trace_id, send.context.span_id, True).traceparent
    assert send.parent.span_id == root.get_span_context().span_id
    assert (send.name, send.kind) == ("send dns.submit", trace.SpanKind.PRODUCER)
    assert send.attributes["messaging.operation.type"] == "send"
    assert send.attributes["dnsworker.zone"] == "example.org."
    headers = Message("t", "id", {}, "e", "k", traceparent=traceparent).headers()
    assert headers["traceparent"] == traceparent


def test_a_submission_outside_of_a_span_is_none(own: InMemorySpanExporter) -> None:
    with sending(INTO_DATABASE, "id", "put_record", "example.org.") as traceparent:
        assert traceparent is None
    assert own.get_finished_spans() == ()
    assert "traceparent" not in Message("t", "id", {}, "e", "k").headers()


def test_what_the_submitters_sampler_leaves_out_is_sent_as_left_out(own: InMemorySpanExporter) -> None:
    left_out = trace.NonRecordingSpan(trace.SpanContext(5, 7, is_remote=True))
    with trace.use_span(left_out), sending(WAY, "id", "put_record", "example.org.") as traceparent:
        assert place_of(traceparent).is_sampled is False
    assert own.get_finished_spans() == ()


def test_a_submission_that_fails_says_so_without_the_errors_text(own: InMemorySpanExporter) -> None:
    with (
        trace.get_tracer("shop").start_as_current_span("checkout"),
        pytest.raises(SubmissionFailed),
        sending(WAY, "id", "put_record", "example.org."),
    ):
        raise SubmissionFailed("amqp://shop:s3cret@rabbit/ is away")
    send = own.get_finished_spans()[0]
    assert (send.status.status_code, send.attributes["error.type"]) == (StatusCode.ERROR, "SubmissionFailed")
    assert send.status.description is None
    assert send.events == ()


def test_a_submitter_without_opentelemetry_loads_none_of_it() -> None:
    code = """
import sys
from dnsworker import Client
from dnsworker.errors import SubmissionFailed
try:
    Client("amqp://127.0.0.1:1//", timeout_s=0.2).put_record("example.org", "www", "A", ["192.0.2.1"])
except SubmissionFailed:
    print(*[name for name in sys.modules if name.startswith("opentelemetry")], "end")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "end"


@pytest.mark.parametrize(
    ("environ", "is_so"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://192.0.2.1/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}, False),
        ({"OTEL_SDK_DISABLED": "true", **ENDPOINT}, False),
        ({"OTEL_SERVICE_NAME": "dns", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_traces_are_made_where_the_variables_say_where_to(environ: dict[str, str], is_so: bool) -> None:
    assert is_wanted(environ) is is_so


def test_without_the_extra_it_is_said_and_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ENDPOINT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "dnsworker.tracing.spans")
    monkeypatch.delattr(package, "spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    own = Tracing()
    own.start(sa.create_engine("sqlite://"))
    assert not own.is_on
    assert "pip install 'dnsworker[otel]'" in caplog.text


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "no exporter 'zipkin' is installed"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "no exporter 'otlp_proto_grpc' is installed"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "no exporter 'otlp over http/json' is installed"),
    ],
)
def test_an_exporter_that_is_not_there_is_said_and_work_goes_on(
    environ: dict[str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert spans.of_environment(environ) is None
    assert said in caplog.text


def test_the_services_name_is_ours_unless_the_variables_say_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def named() -> Any:
        memory = InMemorySpanExporter()
        Spans(SimpleSpanProcessor(memory)).make("x", parent=None, begun_ns=1, ended_ns=2, attributes={})
        return memory.get_finished_spans()[0].resource.attributes["service.name"]

    assert named() == "dnsworker"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "dns-berlin")
    assert named() == "dns-berlin"


def test_a_span_never_ends_before_it_begins() -> None:
    """A submitter's clock may be ahead."""
    memory = InMemorySpanExporter()
    Spans(SimpleSpanProcessor(memory)).make("x", parent=PLACE, begun_ns=9, ended_ns=2, attributes={})
    (made,) = memory.get_finished_spans()
    assert (made.start_time, made.end_time) == (2, 2)


class Hanging(SpanExporter):
    """A collector that takes everything and never answers."""

    def __init__(self) -> None:
        self.is_asked, self.may_end = threading.Event(), threading.Event()

    def export(self, found: Any) -> Any:
        self.is_asked.set()
        self.may_end.wait(60)

    def shutdown(self) -> None:
        pass


def test_a_collector_that_hangs_keeps_no_worker_from_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "END_S", 0.2)
    exporter = Hanging()
    own = Tracing(lambda: Spans(BatchSpanProcessor(exporter, schedule_delay_millis=1)))
    own.start(sa.create_engine("sqlite://"))
    own._spans.make("x", parent=PLACE, begun_ns=1, ended_ns=2, attributes={})
    assert exporter.is_asked.wait(20)
    ending = threading.Thread(target=own.stop, daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive(), "long before the exporter gives up"
    assert "are lost" in caplog.text
    exporter.may_end.set()


def test_what_cannot_be_read_is_said_and_the_next_is_read(caplog: pytest.LogCaptureFixture) -> None:
    """Here there isn't even a table; and then a note that nobody understands."""
    own = Tracing(lambda: Spans(SimpleSpanProcessor(InMemorySpanExporter())))
    own.start(sa.create_engine("sqlite://"))
    for id_, said in (("of no row", "the database is away"), (None, "TypeError")):
        own.note(End([SimpleNamespace(id=id_), SimpleNamespace(id="other")]))  # type: ignore[list-item]
        deadline = time.monotonic() + 20
        while said not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    own.stop()


def test_more_notes_than_there_is_room_for_are_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "WAITING", 2)
    own = Tracing(lambda: None)
    for _ in range(5):
        own.note(End([]))
    assert caplog.text.count("traces have gaps") == 1
