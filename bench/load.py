"""What a system costs while it is measured: the workers' memory, and the messages that wait."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import amqp
from kombu import Connection

from dev.stack import Stack
from dnsworker import queues


@dataclass
class Load:
    """The most that was seen of it."""

    messages: int = 0
    #: Megabytes of resident memory, by worker.
    worker_mb: dict[str, float] = field(default_factory=dict)

    def note(self, stack: Stack, targets: Sequence[str]) -> None:
        """Look once; `targets` are those whose queues are counted beside the others."""
        self.messages = max(self.messages, _messages(stack, targets))
        for program in stack.workers:
            text = Path(f"/proc/{program.pid}/status").read_text(encoding="ascii")
            found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
            if found:
                self.worker_mb[program.name] = round(int(found[1]) / 1024, 1)

    def __str__(self) -> str:
        memory = ", ".join(f"{name} {size:.0f} MB" for name, size in self.worker_mb.items())
        return f"at most {self.messages} messages in queues; {memory}"


def _messages(stack: Stack, targets: Sequence[str]) -> int:
    """In all queues, waiting for a worker."""
    with Connection(stack.env["DNSWORKER_BROKER_URL"]) as connection:
        count = 0
        for queue in queues.all_queues(list(targets)):
            try:
                channel = connection.channel()
                count += channel.queue_declare(queue.name, passive=True).message_count
            except amqp.NotFound:
                continue
        return count
