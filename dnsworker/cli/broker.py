"""What the command line asks the broker itself: declare the queues, count the dead letters.

Separate so that only the commands that need it import kombu.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import kombu
import kombu.exceptions
from amqp.exceptions import AMQPError, NotFound, PreconditionFailed

from dnsworker import queues
from dnsworker.credentials import mask_url
from dnsworker.errors import ConfigError
from dnsworker.monitoring.depth import Depth
from dnsworker.settings import Settings
from dnsworker.tls import broker_ssl

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3


def declare(settings: Settings, targets: list[str]) -> list[str]:
    """Declare every queue and exchange; returns the queues' names. Raises `ConfigError`."""
    wanted = [*queues.all_queues(targets), queues.dead_queue()]
    try:
        with connected(settings) as connection:
            for queue in wanted:
                queue.bind(connection.default_channel).declare()
    except PreconditionFailed as exc:
        raise ConfigError(f"a queue exists with other arguments; delete it first: {exc}") from exc
    except AMQPError as exc:
        raise ConfigError(f"the broker refuses: {exc}") from exc
    except (OSError, kombu.exceptions.OperationalError) as exc:
        raise ConfigError(f"can't reach {mask_url(settings.broker())}: {exc}") from exc
    return [queue.name for queue in wanted]


def dead_letters(settings: Settings) -> tuple[int | None, str | None]:
    """(how many, None), or (None, why they can't be counted)."""
    try:
        with connected(settings) as connection:
            queue = queues.dead_queue().bind(connection.default_channel)
            declared: Any = queue.queue_declare(passive=True)
            return int(declared.message_count), None
    except ConfigError as exc:
        return None, exc.message
    except NotFound:
        return None, "the queues are not declared: start a worker or run `dnsworker queues declare`"
    except (OSError, AMQPError, kombu.exceptions.OperationalError) as exc:
        return None, str(exc).splitlines()[0] if str(exc) else type(exc).__name__


def depths(settings: Settings, targets: Sequence[str]) -> dict[str, Depth] | None:
    """How much waits in our queues, and who takes it; None while the broker is away. For one scrape."""
    found: dict[str, Depth] = {}
    names = [queue.name for queue in [*queues.all_queues(list(targets)), queues.dead_queue()]]
    try:
        with connected(settings) as connection:
            for name in names:
                # A queue that isn't there ends the channel.
                with connection.channel() as channel, contextlib.suppress(NotFound):
                    declared: Any = kombu.Queue(name, channel=channel).queue_declare(passive=True)
                    found[name] = Depth(declared.message_count, declared.consumer_count)
    except ConfigError as exc:
        log.warning("the broker can't be asked for the metrics: %s", exc.message)
        return None
    except (OSError, AMQPError, kombu.exceptions.OperationalError) as exc:
        log.warning("the broker can't be asked for the metrics: %s", (str(exc) or type(exc).__name__))
        return None
    return found


def connected(settings: Settings, **options: Any) -> kombu.Connection:
    """A connection that stands; `options` are the transport's. Raises `ConfigError`, and the network's."""
    try:
        connection = kombu.Connection(
            settings.broker(),
            ssl=broker_ssl(settings.broker(), settings.ca_bundle),
            connect_timeout=CONNECT_TIMEOUT_S,
            heartbeat=0,
            transport_options=options,
        )
        connection.transport  # noqa: B018 - looked up here, and an unknown one raises KeyError
    except (KeyError, ValueError, ImportError) as exc:
        raise ConfigError(f"not a broker URL: {mask_url(settings.broker())}") from exc
    connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_TIMEOUT_S)
    return connection
