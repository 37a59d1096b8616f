"""Messages that could not be handled, kept for a person: looked at, sent back, thrown away.

Separate from what else is asked of the broker, because here messages are in hand: one is acknowledged
only after the broker has confirmed it elsewhere, and whatever was only looked at goes back when the channel
is closed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import amqp
import kombu.exceptions
from amqp.exceptions import AMQPError, MessageNacked, NotFound

from dnsworker import queues
from dnsworker.cli import broker, output
from dnsworker.credentials import mask_url
from dnsworker.errors import ConfigError
from dnsworker.messages import PACKED, as_it_came
from dnsworker.settings import Settings

CONFIRM_TIMEOUT_S = 10.0
MAX_ID_LENGTH = 64
#: Queues whose dead letters come here, and where a message for them is published. A message's own word for
#: where it came from is not enough: its sender may have written that.
ORIGINS = {"dns.intake": (queues.SUBMIT.name, queues.INTAKE_KEY)}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in hand: nobody else gets it until it is acknowledged or the channel closed."""

    message: Any

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.message.headers if isinstance(self.message.headers, Mapping) else {}

    @property
    def death(self) -> Mapping[str, Any]:
        """The broker's note of the last time that it died; empty for one that was put here by hand."""
        deaths = self.headers.get("x-death")
        return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping) else {}

    @property
    def id(self) -> str:
        """The task's id; without a usable one a digest of the message."""
        found = self.headers.get("id")
        if isinstance(found, str) and 0 < len(found) <= MAX_ID_LENGTH and found.isprintable():
            return found
        return f"sha256-{hashlib.sha256(self.body).hexdigest()[:12]}"

    @property
    def body(self) -> bytes:
        body = self.message.body
        return body if isinstance(body, bytes) else str(body).encode()

    def to_json(self) -> dict[str, Any]:
        """What may be shown: of its contents only which zone is meant."""
        died_at, count = self.death.get("time"), self.death.get("count")
        return {
            "id": self.id,
            "task": _word(self.headers.get("task")),
            "zone": _word(self._zone()),
            "user": _word((self.message.properties or {}).get("user_id")),
            "queue": _word(self.death.get("queue")),
            "reason": _word(self.death.get("reason")),
            "deaths": count if isinstance(count, int) else None,
            "died_at": output.moment(died_at).isoformat() if died_at else None,  # type: ignore[union-attr]
        }

    def _zone(self) -> Any:
        try:
            _, arguments, _ = json.loads(self.body)
            return arguments.get("zone")
        except (ValueError, TypeError, AttributeError):
            return None


def _word(value: Any) -> str | None:
    """Of what anybody may have written, a short printable text."""
    return value[:100] if isinstance(value, str) and value.isprintable() else None


class Stays(Exception):
    """A dead letter can't be handled, and is still there."""


@contextmanager
def letters(settings: Settings) -> Iterator[tuple[Any, Iterator[DeadLetter]]]:
    """A channel with confirms, and the messages that are there now, oldest first. Raises `ConfigError`."""
    if settings.is_embedded:
        raise ConfigError("DNSWORKER_BROKER_URL is not set: there is no broker that could have dead letters")
    try:
        with broker.connected(settings, confirm_publish=True) as connection:
            channel = connection.default_channel
            queue = queues.dead_queue().bind(channel)
            declared: Any = queue.queue_declare(passive=True)
            yield channel, _in_hand(queue, int(declared.message_count))
    except NotFound as exc:
        raise ConfigError(
            "the queues are not declared: start a worker or run `dnsworker queues declare`"
        ) from exc
    except AMQPError as exc:
        raise ConfigError(f"the broker refuses: {exc}") from exc
    except (OSError, kombu.exceptions.OperationalError) as exc:
        raise ConfigError(f"no answer from {mask_url(settings.broker())}: {exc}") from exc


def _in_hand(queue: Any, count: int) -> Iterator[DeadLetter]:
    """Not more than there were: one that is sent back may die again at once."""
    for _ in range(count):
        received = queue.channel.basic_get(queue.name, no_ack=False)
        if received is None:
            return
        yield DeadLetter(queue.channel.message_to_python(as_it_came(received)))


def send_back(channel: Any, letter: DeadLetter) -> None:
    """Publish the message again where it came from, and only then take it out. Raises `Stays`.

    Should we die in between it is there twice, and is taken in once: its id is the operation's.
    """
    queue = letter.death.get("queue")
    if queue not in ORIGINS:
        came = f"came from {_word(queue)}" if queue else "was put there by hand"
        raise Stays(f"{letter.id} {came}, not from {' or '.join(ORIGINS)}: it stays")
    if letter.headers.get(PACKED):
        raise Stays(f"{letter.id} is compressed, and would be refused again: it stays")
    exchange, key = ORIGINS[queue]
    returned: list[str] = []
    channel.events["basic_return"].add(lambda error, *_: returned.append(str(error)))
    properties = {**(letter.message.properties or {})}
    for name in ("user_id", "expiration", "application_headers", "content_type", "content_encoding"):
        properties.pop(name, None)
    info = channel.connection.client
    if info.userid and info.login_method != "EXTERNAL":
        properties["user_id"] = info.userid  # the broker vouches for whoever sends it back, and nobody else
    message = amqp.Message(
        letter.body,
        content_type=letter.message.content_type,
        content_encoding=letter.message.content_encoding,
        application_headers={key: one for key, one in letter.headers.items() if not key.startswith("x-")},
        **properties,
    )
    try:
        channel.basic_publish(
            message, exchange=exchange, routing_key=key, mandatory=True, timeout=CONFIRM_TIMEOUT_S
        )
    except MessageNacked as exc:
        raise Stays(f"{queue} doesn't take {letter.id} now (it is full): it stays") from exc
    if returned:
        raise Stays(f"no queue takes {letter.id}: {returned[0]}; it stays")
    letter.message.ack()


def discard(channel: Any, letter: DeadLetter) -> None:
    letter.message.ack()


def each(
    settings: Settings, wanted: set[str] | None, handle: Callable[[Any, DeadLetter], None]
) -> tuple[list[str], list[str]]:
    """Handle those with the wanted ids (None: all): which were handled, and why others weren't."""
    done, refusals = [], []
    with letters(settings) as (channel, messages):
        for letter in messages:
            if wanted is not None and letter.id not in wanted:
                continue
            try:
                handle(channel, letter)
            except Stays as exc:
                refusals.append(str(exc))
            else:
                done.append(letter.id)
    if wanted is not None and not refusals:
        refusals = [f"no dead letter {one}" for one in sorted(wanted - set(done))]
    return done, refusals
