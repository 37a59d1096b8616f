"""The submitter's side: a span for each submission, where the submitter has one that is active.

Only OpenTelemetry's API is used, and only where the submitting program has loaded it: what becomes of the
span is for the submitter's own SDK to say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dnsworker.tracing.context import Place

Attributes = Mapping[str, str]


def over_rabbitmq(exchange: str, routing_key: str) -> Attributes:
    """What the conventions want to be said of a message's way over RabbitMQ."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": exchange,
        "messaging.rabbitmq.destination.routing_key": routing_key,
    }


#: A row instead of a message: the table is the destination.
INTO_DATABASE: Attributes = {"messaging.system": "dnsworker", "messaging.destination.name": "operation"}


def of_operation(operation_id: str, kind: str, zone: str) -> Attributes:
    """What our spans say of an operation, whoever makes them. The same as its log lines: no contents."""
    return {
        "dnsworker.operation.id": operation_id, "dnsworker.operation.kind": kind, "dnsworker.zone": zone,
    }  # fmt: skip


@contextmanager
def sending(way: Attributes, operation_id: str, kind: str, zone: str) -> Iterator[str | None]:
    """A span around a submission; gives the `traceparent` to send along, None where there is no trace."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None or not api.get_current_span().get_span_context().is_valid:
        yield None
        return
    attributes = {
        **way, "messaging.operation.type": "send", "messaging.operation.name": "send",
        "messaging.message.id": operation_id, **of_operation(operation_id, kind, zone),
    }  # fmt: skip
    # An error's text and its causes are not for the span: libraries put URLs in theirs.
    span_of = api.get_tracer("dnsworker").start_as_current_span(
        f"send {way['messaging.destination.name']}", kind=api.SpanKind.PRODUCER, attributes=attributes,
        record_exception=False, set_status_on_exception=False,
    )  # fmt: skip
    with span_of as span:
        found = span.get_span_context()
        try:
            yield Place(found.trace_id, found.span_id, bool(found.trace_flags.sampled)).traceparent
        except Exception as exc:
            span.set_attribute("error.type", type(exc).__name__)
            span.set_status(api.StatusCode.ERROR)
            raise
