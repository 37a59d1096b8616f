"""Task messages as Celery's protocol 2 has them, built without a Celery application.

Separate so that a submitting service pays for no Celery configuration of ours and none of its own leaks
in. https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTENT_TYPE, CONTENT_ENCODING = "application/json", "utf-8"
PERSISTENT, TRANSIENT = 2, 1
#: Kombu's header for how a body is packed, and where we put it instead.
PACKING, PACKED = "compression", "dnsworker-compression"


def as_it_came(received: Any) -> Any:
    """A message (amqp's) that kombu won't unpack.

    It would as soon as the message is there, before anybody could judge it: a megabyte may be as many
    gigabytes as it takes to kill this worker, and the next one that gets it.
    """
    headers = getattr(received, "headers", None)
    if isinstance(headers, dict) and headers.get(PACKING):
        headers[PACKED] = headers.pop(PACKING)
    return received


@dataclass(frozen=True, slots=True)
class Message:
    """One call of one task, and where it is to go."""

    task: str
    id: str
    arguments: Mapping[str, Any]
    exchange: str
    routing_key: str
    #: What Flower and logs show for the arguments: short, without secrets.
    summary: str = ""
    is_durable: bool = True
    #: Whether the asker waits for the task's own result (queries).
    wants_result: bool = False
    #: Whether a message that no queue takes is an error.
    must_be_routed: bool = True
    #: The submitter's place in a trace (W3C), where it has one.
    traceparent: str | None = None

    def body(self) -> str:
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        return json.dumps([[], dict(self.arguments), embed], separators=(",", ":"))

    def headers(self) -> dict[str, Any]:
        # What is Celery's default is left out: a worker would decode it for nothing.
        found = {
            "lang": "py",
            "task": self.task,
            "id": self.id,
            "root_id": self.id,
            # Celery's own default would copy every argument into the headers.
            "argsrepr": "",
            "kwargsrepr": self.summary[:200],
            "origin": f"{os.getpid()}@{socket.gethostname()}",
            "ignore_result": not self.wants_result,
        }
        if self.traceparent is not None:
            found["traceparent"] = self.traceparent
        return found

    def properties(self, user: str | None) -> dict[str, Any]:
        """`user` is vouched for by the broker: it refuses another name than the connection's."""
        found: dict[str, Any] = {
            "correlation_id": self.id,
            "delivery_mode": PERSISTENT if self.is_durable else TRANSIENT,
        }
        if user is not None:
            found["user_id"] = user
        return found
