"""OpenTelemetry's SDK, as its own environment variables set it up; separate because it is an extra.

Spans are made of moments that have passed, under ids that follow from the operation (`tracing.context`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from dnsworker.tracing import context
from dnsworker.tracing.context import Place

log = logging.getLogger(__name__)

EXPORTERS = "opentelemetry_traces_exporter"
Value = str | int


class Spans:
    """Makes spans, and has them sent. For one thread."""

    def __init__(self, *processors: SpanProcessor) -> None:
        self._ids = _Ids()
        named = Resource({"service.name": "dnsworker", "service.version": metadata.version("dnsworker")})
        self._provider = TracerProvider(
            resource=Resource.create().merge(named).merge(OTELResourceDetector().detect()),
            id_generator=self._ids,
            shutdown_on_exit=False,  # that would wait for a collector that is away
        )
        for one in processors:
            self._provider.add_span_processor(one)
        self._tracer = self._provider.get_tracer("dnsworker", metadata.version("dnsworker"))

    def place_of(self, operation_id: str, kind: str, came_from: Place | None) -> Place:
        """Where the operation's own span is, which may be made later, or by somebody else."""
        trace_id = context.trace_id_of(operation_id) if came_from is None else came_from.trace_id
        parent = None if came_from is None else set_span_in_context(_remote(came_from))
        sampled = self._provider.sampler.should_sample(parent, trace_id, kind, SpanKind.INTERNAL)
        is_sampled = sampled.decision is Decision.RECORD_AND_SAMPLE
        return Place(trace_id, context.span_id_of(operation_id), is_sampled)

    def make(
        self,
        name: str,
        *,
        parent: Place | None,
        begun_ns: int,
        ended_ns: int,
        attributes: Mapping[str, Value],
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Place] = (),
        error: str | None = None,
        place: Place | None = None,
    ) -> Place:
        """`place`: where it is; anywhere below its parent otherwise. `error`: why it failed, in one line."""
        with self._ids.being(place):
            span = self._tracer.start_span(
                name,
                context=None if parent is None else set_span_in_context(_remote(parent)),
                kind=kind, attributes=attributes, start_time=min(begun_ns, ended_ns),
                links=[Link(_context(one)) for one in links],
            )  # fmt: skip
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(ended_ns)
        made = span.get_span_context()
        return Place(made.trace_id, made.span_id, bool(made.trace_flags.sampled))

    def shutdown(self, timeout_s: float) -> None:
        """Send what wasn't sent yet, for so long at most: a collector that is away keeps nobody waiting."""
        sending = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        sending.start()
        sending.join(timeout_s)
        if sending.is_alive():
            log.warning("spans that could not be sent within %g s are lost", timeout_s)


class _Ids(RandomIdGenerator):
    """Random ids, but where it is told which they are."""

    def __init__(self) -> None:
        self._place: Place | None = None

    @contextmanager
    def being(self, place: Place | None) -> Iterator[None]:
        self._place = place
        try:
            yield
        finally:
            self._place = None

    def generate_span_id(self) -> int:
        return super().generate_span_id() if self._place is None else self._place.span_id

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self._place is None else self._place.trace_id


def _context(place: Place) -> SpanContext:
    return SpanContext(
        place.trace_id, place.span_id, is_remote=True, trace_flags=TraceFlags(place.is_sampled)
    )


def _remote(place: Place) -> NonRecordingSpan:
    return NonRecordingSpan(_context(place))


def of_environment(environ: Mapping[str, str]) -> Spans | None:
    """As the variables say, which the SDK reads itself; None where it can't be done, which is said."""
    processors = []
    for name in (environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        wanted = _full_name(name.strip(), environ)
        found = list(metadata.entry_points(group=EXPORTERS, name=wanted))
        if not found:
            log.warning("no traces are sent: no exporter %r is installed", wanted)
            return None
        try:
            processors.append(BatchSpanProcessor(found[0].load()()))
        except Exception as exc:  # noqa: BLE001 - an exporter may be anybody's, and DNS goes on without it
            log.warning("no traces are sent: the exporter %r can't be set up: %s", wanted, exc)
            return None
    return Spans(*processors)


def _full_name(name: str, environ: Mapping[str, str]) -> str:
    if name != "otlp":
        return name
    protocol = (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    known = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
    return known.get(protocol.strip(), f"otlp over {protocol}")
