"""What a worker takes from its queues, and what it puts aside as a dead letter instead of losing it.

Celery acknowledges what it can't decode or doesn't know, and runs any callback that a message names with
the worker's own rights. Here a message is judged first; `reason_to_refuse` is the whole rule.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import amqp
import kombu
from celery import bootsteps, signals
from celery.exceptions import WorkerShutdown
from celery.worker import consumer as celery_consumer
from celery.worker.consumer.tasks import Tasks
from kombu.exceptions import KombuError

from dnsworker import queues
from dnsworker.messages import PACKED, as_it_came
from dnsworker.queues import ASKABLE, DELIVER_TASK, INTAKE_TASK, INTERNAL, SUBMITTABLE, SWEEP_TASK

log = logging.getLogger(__name__)

INTERNAL_TASKS = frozenset({DELIVER_TASK, INTAKE_TASK, SWEEP_TASK})
MAX_ID_LENGTH = 64
#: What decoding a message's body raises: bad JSON or UTF-8, a content type that isn't accepted.
UNDECODABLE = (KombuError, ValueError, TypeError, LookupError, OSError, EOFError)
#: Parts of a message by which its sender would have a worker publish messages of the sender's choice.
FOLLOW_UPS = ("callbacks", "errbacks", "chain", "chord")


def reason_to_refuse(message: Any) -> str | None:
    """Why a message (kombu's) can't be handled, in one line; None for one that can."""
    headers = message.headers
    if not isinstance(headers, Mapping) or not isinstance(headers.get("task"), str):
        return "not a task message (Celery's protocol 2)"
    if packing := headers.get(PACKED):
        return f"compressed ({packing!r:.60}); send it as it is"
    if message.content_type != "application/json":
        return f"content type {message.content_type!r}; only application/json is read"
    task, task_id = headers["task"], headers.get("id")
    if task not in SUBMITTABLE and task not in ASKABLE and task not in INTERNAL_TASKS:
        return f"no task {task!r}"
    if not isinstance(task_id, str) or not 0 < len(task_id) <= MAX_ID_LENGTH or not task_id.isprintable():
        return f"no usable id; a printable text of at most {MAX_ID_LENGTH} characters is needed"
    try:
        payload = message.payload
    except UNDECODABLE as exc:
        return f"can't decode the body: {type(exc).__name__}: {exc}"
    if not isinstance(payload, list) or len(payload) != 3:
        return "the body isn't [args, kwargs, options] (Celery's protocol 2)"
    args, kwargs, embedded = payload
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return "the body's args aren't a list, or its kwargs no object"
    if (message.delivery_info or {}).get("exchange") == INTERNAL.name:
        return None
    return _reason_to_refuse_submitted(task, headers, embedded)


def _reason_to_refuse_submitted(task: str, headers: Mapping[str, Any], embedded: Any) -> str | None:
    if task in INTERNAL_TASKS:
        return f"{task} is not for submitters"
    if not isinstance(embedded or {}, dict):
        return "the body's options are no object"
    follow_ups = [name for name in FOLLOW_UPS if (embedded or {}).get(name)]
    if headers.get("group"):
        follow_ups.append("group")
    if follow_ups:
        return f"{', '.join(follow_ups)}: an operation is submitted alone; wait for its outcome instead"
    if headers.get("eta"):
        return "an ETA or countdown: an operation is carried out when it comes"
    if headers.get("expires") and task in SUBMITTABLE:
        return "an expiry: an operation that was submitted is carried out"
    return None


def tidy(message: Any) -> None:
    """Make of a submitter's headers what the worker and Flower may believe."""
    headers, (_args, kwargs, _embedded) = message.headers, message.payload
    named = (kwargs.get(key) for key in ("zone", "name", "type", "id"))
    headers["kwargsrepr"] = " ".join(value[:80] for value in named if isinstance(value, str))
    headers["argsrepr"] = ""
    for name in ("shadow", "timelimit", "stamps", "stamped_headers", "reply_to"):
        headers.pop(name, None)
    if headers["task"] in SUBMITTABLE:
        # Else Celery would store the intake's return value in the place of the outcome.
        headers["ignore_result"] = True


class QueueConsumer(kombu.Consumer):
    """Has as many messages of a queue sent in advance as are taken from it at once, or else `usual`; leaves
    each as it came."""

    def __init__(self, *args: Any, usual: int, **options: Any) -> None:
        self._usual = usual
        super().__init__(*args, **options)

    def _receive_callback(self, message: Any) -> Any:
        return super()._receive_callback(as_it_came(message))

    def _basic_consume(self, queue: Any, *args: Any, **options: Any) -> Any:
        if isinstance(self.channel, amqp.Channel):
            # For what is consumed from now on; what is consumed already keeps its own.
            self.channel.basic_qos(0, queues.AT_ONCE.get(queue.name, self._usual), a_global=False)
        return super()._basic_consume(queue, *args, **options)


class NewTargets(bootsteps.StartStopStep):
    """Consumes the queues of targets that `pool apply` adds while the worker runs, without a restart."""

    requires = (Tasks,)
    interval_s = 5.0

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._stop = threading.Event()

    def include_if(self, consumer: Any) -> bool:
        return bool(getattr(consumer.app, "follows_targets", False))

    def start(self, consumer: Any) -> None:
        self._stop = threading.Event()
        # The database is asked in a thread of its own: the consumer's must keep up its heartbeats.
        threading.Thread(
            target=self._watch, args=(consumer, self._stop), name="dnsworker-targets", daemon=True
        ).start()

    def stop(self, consumer: Any) -> None:
        self._stop.set()

    def _watch(self, consumer: Any, stop: threading.Event) -> None:
        while not stop.wait(self.interval_s):
            targets = consumer.app.target_names()
            if targets is None:
                continue  # the database is away
            wanted = {queue.name: queue for queue in map(queues.deliver_queue, targets)}
            taken = {name for name in consumer.app.amqp.queues if name.startswith(queues.DELIVER_PREFIX)}
            if taken != set(wanted):
                consumer.call_soon(self._follow, consumer, wanted)

    @staticmethod
    def _follow(consumer: Any, wanted: dict[str, Any]) -> None:
        known = consumer.app.amqp.queues
        for name, queue in wanted.items():
            if name not in known:
                known.add(queue)  # our own Queue: by its name alone Celery would make a classic one
                consumer.add_task_queue(name)
        for name in [name for name in known if name.startswith(queues.DELIVER_PREFIX) and name not in wanted]:
            consumer.cancel_task_queue(name)
            known.pop(name, None)


class PromptStop(bootsteps.StartStopStep):
    """Wakes the event loop when the worker is told to stop.

    The signal's handler only sets a flag, and a poll that a signal interrupts goes on (PEP 475): an idle
    worker saw the flag at its next timer, up to two seconds later.
    """

    requires = (Tasks,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def start(self, consumer: Any) -> None:
        if consumer.hub is None:
            return  # the loop of transports that poll by themselves looks often enough
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        consumer.hub.add_reader(self._ends[0], self._drain)
        signals.worker_shutting_down.connect(self._wake, weak=False)

    def stop(self, consumer: Any) -> None:
        ends, self._ends = self._ends, None
        if ends is not None:
            signals.worker_shutting_down.disconnect(self._wake)
            consumer.hub.remove(ends[0])
            for end in ends:
                end.close()

    def _wake(self, **_: Any) -> None:
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):  # full: it is awake
                self._ends[1].send(b"!")

    def _drain(self) -> None:
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):
                self._ends[0].recv(64)


class Heartbeat(bootsteps.StartStopStep):
    """Shows that the loop which takes messages comes round, for as long as there is a connection."""

    requires = (Tasks,)
    interval_s = 1.0

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._entry: Any = None

    def start(self, consumer: Any) -> None:
        pulse = consumer.app.pulse
        if consumer.hub is None:  # a transport that polls by itself has no timers in its loop
            pulse.beat_unseen()
            return
        pulse.beat()
        self._entry = consumer.timer.call_repeatedly(self.interval_s, pulse.beat)

    def stop(self, consumer: Any) -> None:
        consumer.app.pulse.rest()
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.cancel()


class Consumer(celery_consumer.Consumer):
    """Celery's consumer that judges each message first, and never acknowledges what nobody handled."""

    connection_errors: tuple[type[BaseException], ...]
    initial_prefetch_count: int
    #: Takes in small submissions (`tasks.batches`); one for each connection to the broker.
    committer: Any = None

    class Blueprint(celery_consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]
        # Delayed delivery would declare 28 queues for ETAs that are refused anyway.
        default_steps = [  # noqa: RUF012 - Celery's name and form
            *(
                step
                for step in celery_consumer.Consumer.Blueprint.default_steps
                if not str(step).endswith(":DelayedDelivery")
            ),
            NewTargets,
            PromptStop,
            Heartbeat,
        ]

    def connect(self) -> Any:
        """Connects, and declares every queue: those that no worker of ours reads included."""
        self.app.amqp.Consumer = partial(QueueConsumer, usual=self.initial_prefetch_count)  # type: ignore[assignment]
        connection = super().connect()
        channel = connection.default_channel
        wanted = [*queues.all_queues([]), queues.dead_queue(), *self.app.amqp.queues.values()]
        try:
            for queue in {queue.name: queue for queue in wanted}.values():
                queue.bind(channel).declare()
        except amqp.PreconditionFailed as exc:
            log.critical("a queue exists with other arguments; delete it, then start again: %s", exc)
            raise WorkerShutdown(1) from exc
        return connection

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """The connection of the events, which every thread of the pool publishes on and the main one reads.

        Without confirms and heartbeats there is nothing to read. With them, the main thread may take the
        confirm that another thread waits for: that one waits on, holding the lock that all events need,
        and the worker stands still until the broker drops the connection (Celery 5.7, amqp 5.4, 2026-11-23).
        """
        options = {"confirm_publish": False}
        return self.ensure_connected(
            self.app.connection_for_write(url=url, heartbeat=0, transport_options=options)
        )

    def update_strategies(self) -> None:
        if self.committer is not None:
            self.committer.stop()
            self.committer = None
        super().update_strategies()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        handle = super().create_task_handler(*args, **kwargs)

        def on_message(message: Any) -> None:
            reason = reason_to_refuse(message)
            if reason is not None:
                self.put_aside(message, reason)
                return
            if (message.delivery_info or {}).get("exchange") != INTERNAL.name:
                tidy(message)
            handle(message)

        return on_message

    def put_aside(self, message: Any, reason: str) -> None:
        """Reject the message for good: from `dns.intake` it goes to `dns.dead`."""
        info, headers = message.delivery_info or {}, message.headers
        log.error(
            "dead letter %s (exchange %r, key %r, user %s): %s",
            headers.get("id") if isinstance(headers, Mapping) else None,
            info.get("exchange"),
            info.get("routing_key"),
            (message.properties or {}).get("user_id") or "unknown",
            reason,
            extra={"operation": headers.get("id") if isinstance(headers, Mapping) else None},
        )
        message.reject_log_error(log, self.connection_errors)

    # Celery's own judgement comes after ours; where it still finds a fault, the message is kept too.

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self.put_aside(message, f"can't decode the body: {type(exc).__name__}: {exc}")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self.put_aside(message, "not a task message")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self.put_aside(message, f"no task {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self.put_aside(message, f"invalid: {exc}")
