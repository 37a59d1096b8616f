"""Publishing a message within a deadline, with the broker's word that it has it.

Separate from Celery's own publishing, which knows no deadline (17 s on a frozen broker) and takes an
unroutable message for a sent one.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from pathlib import Path
from typing import Any

import amqp
from amqp.exceptions import MessageNacked
from kombu import Connection
from kombu.exceptions import KombuError
from kombu.utils.url import maybe_sanitize_url

from dnsworker import wakeup_files  # noqa: F401 - makes its URL scheme known to kombu
from dnsworker.errors import ConfigError, SubmissionFailed
from dnsworker.messages import CONTENT_ENCODING, CONTENT_TYPE, Message
from dnsworker.tls import broker_ssl

log = logging.getLogger(__name__)

#: Connections that stay open for the next message.
MAX_IDLE = 32
#: RabbitMQ's words for a message that claims to be another user's (rabbit_access_control, 3.10).
_FORGED = re.compile(r"user_id property set to ('.*?') but authenticated user was ('.*')")
NO_WORKER = "no dnsworker has been started on this broker"
#: What a broker, or the way to it, does to us.
ERRORS = (amqp.AMQPError, MessageNacked, KombuError, OSError)


def folder_options(data_dir: Path) -> dict[str, Any]:
    """Options of the transport that carries the wake-ups of the embedded system."""
    queued, control = data_dir / "wakeups", data_dir / "wakeups" / "exchanges"
    control.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(queued),
        "data_folder_out": str(queued),
        "control_folder": str(control),
        "polling_interval": 0.02,  # its default of 1 s would be the latency of every wake-up
    }


class Publisher:
    """Publishes from any number of threads. Holds no connection until it is used.

    A link that failed in any way is never used again: its next confirm might be another message's.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_bundle: Path | None = None,
        options: dict[str, Any] | None = None,
        confirms: bool = True,
    ) -> None:
        self._urls = url.split(";")
        self._ca_bundle = ca_bundle
        self._options = {"confirm_publish": confirms, **(options or {})}
        self.renew()

    def renew(self) -> None:
        """Forget all connections without a word to the broker: after a fork they are the parent's."""
        self._idle: list[_Link] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def publish(self, message: Message, timeout_s: float) -> None:
        """Raises `SubmissionFailed` unless the broker has confirmed the message within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        may_have_arrived = False
        failed_with: Exception | None = None
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        # A kept connection may have died since: one more try, on a new one, under the same id. The URLs
        # of a failover list are tried once each.
        for url in [None, *self._urls] if kept else self._urls:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            link = kept
            try:
                if url is not None or link is None:
                    link = _Link(url or self._urls[0], self._ca_bundle, self._options, left)
                link.publish(message, max(0.001, deadline - time.monotonic()))
            except Refused as exc:
                self._drop(link)
                raise SubmissionFailed(str(exc), may_have_arrived=may_have_arrived) from exc
            except ERRORS as exc:
                self._drop(link)
                may_have_arrived = may_have_arrived or (link is not None and link.has_sent)
                failed_with = exc
            else:
                self._keep(link)
                return
        text = self._describe(failed_with, timeout_s) if failed_with else "no time was left"
        raise SubmissionFailed(text, may_have_arrived=may_have_arrived) from failed_with

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            links, self._idle = self._idle, []
        for link in links:
            link.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's sockets without closing its connections."""
        links = self._idle
        self.renew()
        for link in links:
            link.abandon()

    def _keep(self, link: _Link) -> None:
        with self._lock:
            if not self._is_closed and len(self._idle) < MAX_IDLE:
                self._idle.append(link)
                return
        link.close()

    @staticmethod
    def _drop(link: _Link | None) -> None:
        if link is not None:
            link.close()

    def _describe(self, error: Exception, timeout_s: float) -> str:
        where = " or ".join(str(maybe_sanitize_url(url)) for url in self._urls)
        reason = _first_line(error)
        if isinstance(error, TimeoutError):
            reason = f"no answer within {timeout_s:.3g} s"
        elif isinstance(error, MessageNacked):
            reason = "it refuses it (the queue is full, or its node in trouble)"
        return f"the broker ({where}) did not confirm the message: {reason}"


class Refused(Exception):
    """The broker has said that it will not have this message; trying again changes nothing."""


class _Link:
    """One connection with one channel, used by one thread at a time."""

    def __init__(self, url: str, ca_bundle: Path | None, options: dict[str, Any], timeout_s: float) -> None:
        self.has_sent = False
        self._returned: str | None = None
        try:
            self._info = Connection(
                url,
                ssl=broker_ssl(url, ca_bundle),
                connect_timeout=timeout_s,
                transport_options=options,
                heartbeat=0,
            )
            self._transport = self._info.transport
        except (KeyError, ValueError, ImportError) as exc:
            raise ConfigError(f"not a broker URL: {maybe_sanitize_url(url)}") from exc
        self._connection = self._transport.establish_connection()
        self._is_amqp = isinstance(self._connection, amqp.Connection)
        self._channel: Any
        try:
            self._limit(timeout_s)
            self._channel = self._transport.create_channel(self._connection)
        except ERRORS:
            self.close()
            raise
        if self._is_amqp:
            self._channel.events["basic_return"].add(self._on_return)

    def publish(self, message: Message, timeout_s: float) -> None:
        """Raises `Refused`, or one of `ERRORS` when nobody knows."""
        self._limit(timeout_s)
        self.has_sent, self._returned = False, None
        # The broker refuses (406) a user name that isn't the connection's own.
        user = self._info.userid if self._is_amqp and self._info.login_method != "EXTERNAL" else None
        prepared = self._channel.prepare_message(
            message.body(),
            content_type=CONTENT_TYPE,
            content_encoding=CONTENT_ENCODING,
            headers=message.headers(),
            properties=message.properties(user),
        )
        extra = {"mandatory": message.must_be_routed, "timeout": timeout_s} if self._is_amqp else {}
        self.has_sent = True
        try:
            self._channel.basic_publish(
                prepared, exchange=message.exchange, routing_key=message.routing_key, **extra
            )
        except amqp.NotFound as exc:
            self.has_sent = False
            raise Refused(f"{NO_WORKER} (exchange {message.exchange} is missing)") from exc
        except (amqp.AccessRefused, amqp.PreconditionFailed, amqp.NotAllowed) as exc:
            self.has_sent = False
            raise Refused(f"the broker refuses the message: {_refusal(exc)}") from exc
        if self._returned is not None:
            self.has_sent = False
            raise Refused(f"{NO_WORKER} (queue dns.{message.routing_key} is missing): {self._returned}")

    def close(self) -> None:
        """At once: AMQP's own closing waits for an answer, without a time-out."""
        try:
            if self._is_amqp:
                self._connection.collect()
            else:
                self._transport.close_connection(self._connection)
        except ERRORS as exc:
            log.debug("closing a broker connection: %s", exc)

    def abandon(self) -> None:
        sock = getattr(getattr(self._connection, "_transport", None), "sock", None)
        if self._is_amqp and sock is not None:
            sock.close()  # no shutdown(2): that would end the parent's connection too

    def _limit(self, timeout_s: float) -> None:
        # amqp opens channels and selects confirms without a time-out; the socket's own then counts.
        if self._is_amqp:
            self._connection.sock.settimeout(timeout_s)

    def _on_return(self, error: Exception, exchange: str, routing_key: str, _message: object) -> None:
        self._returned = f"{exchange}/{routing_key}: {_first_line(error)}"


def _refusal(error: Exception) -> str:
    said = _first_line(error)
    if forged := _FORGED.search(said):
        return f"its user_id is {forged[1]}, and the user of the connection is {forged[2]}"
    return said


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
