"""Where an operation belongs in a trace; separate because it needs neither OpenTelemetry nor a database.

An operation's work is done by several processes, which know nothing of each other but its row. So nothing is
handed on: the ids follow from the operation's own id and from the `traceparent` that came with it. Whoever
works on it finds the same parent, and what is told twice is one span.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

#: https://www.w3.org/TR/trace-context/#traceparent-header; later versions may have more behind it.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
#: The flag that says: somebody keeps this trace.
SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A span somewhere: of the submitter's, or an operation's own."""

    trace_id: int
    span_id: int
    is_sampled: bool

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{SAMPLED if self.is_sampled else 0:02x}"


def place_of(traceparent: object) -> Place | None:
    """What a `traceparent` says; None where it says nothing that can be read. It may come from anybody."""
    if not isinstance(traceparent, str) or len(traceparent) > 512:
        return None
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or (traceparent.startswith("00") and match[4]):
        return None
    place = Place(int(match[1], 16), int(match[2], 16), bool(int(match[3], 16) & SAMPLED))
    return place if place.trace_id and place.span_id else None


def readable(traceparent: object) -> str | None:
    """A `traceparent` as it is kept: what can be read of it, 55 characters."""
    place = place_of(traceparent) if traceparent is not None else None
    return None if place is None else place.traceparent


def span_id_of(operation_id: str) -> int:
    """Of the span that is the operation: from its submission to its end."""
    return _number(operation_id, b"span", 8)


def trace_id_of(operation_id: str) -> int:
    """Of the trace of an operation that came without one."""
    return _number(operation_id, b"trace", 16)


def _number(operation_id: str, what: bytes, size: int) -> int:
    # Samplers look at the low bits, which have to be as good as random: a UUID's are not.
    digest = blake2b(operation_id.encode("utf-8", "surrogatepass"), digest_size=size, person=what).digest()
    return int.from_bytes(digest, "big") or 1
