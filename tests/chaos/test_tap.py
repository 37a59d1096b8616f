"""Submissions that are held back on their way and come back in another order, or repeatedly."""

from __future__ import annotations

import random

import pytest
from kombu import Connection

from chaos.tap import Tap
from dev.servers import RabbitMQ
from dev.servers.process import wait_until
from dnsworker import queues

SOON_S = 30.0
SENT = [f"message {number}" for number in range(20)]


@pytest.mark.parametrize("copies", [1, 3])
def test_what_is_held_comes_back_in_another_order_as_often_as_said(rabbitmq: RabbitMQ, copies: int) -> None:
    url = rabbitmq.add_vhost(f"tap-{copies}")
    with Connection(url) as connection:
        queue = queues.intake_queue()(connection.default_channel)
        queue.declare()
        tap = Tap(url, copies, random.Random(7))
        tap.start()
        producer = connection.Producer()
        for text in SENT:
            producer.publish(text, exchange=queue.exchange, routing_key=queue.routing_key, app_id="kept")
        wait_until(lambda: len(tap.held) == len(SENT), SOON_S, "the tap to hold all")
        tap.release()
        found = []
        while (message := queue.get()) is not None:
            message.ack()
            found.append(message.body)
            assert message.properties["app_id"] == "kept"
    assert sorted(found) == sorted(SENT * copies)
    assert found != SENT
