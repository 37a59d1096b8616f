"""Takes a share of what is submitted before the workers do, and gives it back in another order, or often.

It is a consumer beside theirs. What it holds when the broker ends is delivered to somebody else.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from urllib.parse import unquote, urlsplit

import amqp

from dnsworker import queues

#: At most so many messages are held.
HELD = 500
TICK_S = 0.1


class Tap(threading.Thread):
    """Holds messages from `start` to `release`."""

    def __init__(self, broker_url: str, copies: int, rng: random.Random) -> None:
        """`copies`: how often each message is given back."""
        super().__init__(name="tap", daemon=True)
        self._url, self._copies, self._rng = urlsplit(broker_url), copies, rng
        self._is_over = threading.Event()
        self.held: list[amqp.Message] = []

    def release(self) -> None:
        """Give all back; returns when the broker has them."""
        self._is_over.set()
        self.join()

    def run(self) -> None:
        with contextlib.suppress(amqp.AMQPError, OSError):  # it has them all still
            self._run()

    def _run(self) -> None:
        queue = queues.intake_queue()
        with self._connect() as connection:
            channel = connection.channel()
            channel.basic_qos(0, HELD, False)
            tag = channel.basic_consume(queue.name, callback=self.held.append)
            while not self._is_over.is_set():
                with contextlib.suppress(socket.timeout):
                    connection.drain_events(timeout=TICK_S)
            channel.basic_cancel(tag)
            again = self.held * self._copies
            self._rng.shuffle(again)
            channel.tx_select()  # one answer for all: waiting for each could outlast the grace of those held
            for message in again:
                copy = amqp.Message(message.body, **message.properties)
                channel.basic_publish(copy, queue.exchange.name, queue.routing_key)
            for message in self.held:
                assert message.delivery_tag is not None
                channel.basic_ack(message.delivery_tag)
            channel.tx_commit()

    def _connect(self) -> amqp.Connection:
        assert self._url.hostname
        connection = amqp.Connection(
            f"{self._url.hostname}:{self._url.port}",
            userid=unquote(self._url.username or "guest"),
            password=unquote(self._url.password or "guest"),
            virtual_host=unquote(self._url.path[1:]) or "/",
        )
        connection.connect()
        return connection
