"""The transport of wake-ups in the embedded system. Its queues are files, so these tests write some."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from dnsworker.broker import Publisher, folder_options
from dnsworker.messages import Message
from dnsworker.queues import deliver_queue
from dnsworker.settings import EMBEDDED_BROKER


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with Connection(EMBEDDED_BROKER, transport_options=folder_options(tmp_path)) as made:
        yield made


def test_every_message_is_read_once_by_one_of_two_readers(tmp_path: Path, connection: Connection) -> None:
    queue = deliver_queue("ns1")
    queue.bind(connection.default_channel).declare()
    publisher = Publisher(EMBEDDED_BROKER, options=folder_options(tmp_path))
    read: list[str] = []
    is_done = threading.Event()

    def consume() -> None:
        with Connection(EMBEDDED_BROKER, transport_options=folder_options(tmp_path)) as own:
            bound = queue.bind(own.default_channel)
            while True:
                was_done = is_done.is_set()
                message = bound.get(no_ack=True)
                if message is not None:
                    read.append(message.headers["id"])
                elif was_done:
                    return

    readers = [threading.Thread(target=consume) for _ in range(2)]
    for reader in readers:
        reader.start()
    ids = [f"m{number:03}" for number in range(200)]
    for one in ids:
        publisher.publish(Message("dnsworker.deliver", one, {}, "dns.internal", "deliver.ns1"), 5)
    is_done.set()
    for reader in readers:
        reader.join(30)
    publisher.close()
    assert sorted(read) == ids
    assert [path.name for path in (tmp_path / "wakeups").iterdir() if path.is_file()] == []


def test_a_file_that_is_no_message_is_dropped_and_the_next_is_read(
    tmp_path: Path, connection: Connection
) -> None:
    queue = deliver_queue("ns1").bind(connection.default_channel)
    queue.declare()
    (tmp_path / "wakeups" / "0_x.dns.deliver.ns1.msg").write_text("")
    publisher = Publisher(EMBEDDED_BROKER, options=folder_options(tmp_path))
    publisher.publish(Message("dnsworker.deliver", "m", {}, "dns.internal", "deliver.ns1"), 5)
    message = queue.get(no_ack=True)
    publisher.close()
    assert message is not None
    assert message.headers["id"] == "m"


def test_a_half_written_message_is_not_seen(tmp_path: Path, connection: Connection) -> None:
    queue = deliver_queue("ns1").bind(connection.default_channel)
    queue.declare()
    (tmp_path / "wakeups" / "0_x.dns.deliver.ns1.new").write_text("{")
    assert queue.get(no_ack=True) is None
