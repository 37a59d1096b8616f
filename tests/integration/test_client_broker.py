"""The client against a real broker, Redis and worker: whole, missing, frozen, restarted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kombu import Connection

from dev.servers.process import Process, wait_until
from dev.servers.rabbitmq import RabbitMQ
from dev.servers.redis import Redis
from dnsworker import AsyncClient, Client, OperationFailed, Status, SubmissionFailed, WaitTimeout
from dnsworker.cli import broker
from dnsworker.client import remote
from dnsworker.errors import NoAnswer, OperationNotFound, ZoneNotFound
from dnsworker.settings import Settings

#: Seconds: what a client that hangs would take at least, and a busy machine never takes.
HANG_S = 15.0

RECORD = {"zone": "example.org", "name": "www", "type": "A", "data": ["192.0.2.1"]}


@pytest.fixture
def declared(broker_url: str) -> str:
    """A broker with all queues and no worker."""
    broker.declare(Settings(broker_url=broker_url), [])
    return broker_url


@pytest.fixture
def client(declared: str, redis: Redis) -> Iterator[Client]:
    with Client(declared, redis.url) as made:
        yield made


def take(broker_url: str, count: int) -> list[dict[str, Any]]:
    """The next messages of the intake queue, in the queue's order: their arguments."""
    taken: list[dict[str, Any]] = []
    with Connection(broker_url) as connection:
        channel = connection.default_channel

        def have_all() -> bool:
            while message := channel.basic_get("dns.intake", no_ack=True):
                taken.append(json.loads(message.body)[1])
            return len(taken) >= count

        wait_until(have_all, 60, f"{count} messages")
    return taken


class Swallower:
    """A TCP proxy that can stop passing anything on, as a frozen broker or a cut wire does."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.is_swallowing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                return
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(source, sink), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.is_swallowing.is_set():
                    sink.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def swallower(rabbitmq: RabbitMQ) -> Iterator[Swallower]:
    proxy = Swallower(rabbitmq.port)
    yield proxy
    proxy.close()


def through(swallower: Swallower, rabbitmq: RabbitMQ, broker_url: str) -> str:
    return broker_url.replace(f":{rabbitmq.port}/", f":{swallower.port}/")


def test_without_a_worker_ever_the_submission_fails_and_says_why(broker_url: str) -> None:
    with Client(broker_url) as client:
        with pytest.raises(SubmissionFailed, match="no dnsworker has been started on this broker") as caught:
            client.put_record(**RECORD)
        assert not caught.value.may_have_arrived
        with Connection(broker_url) as connection:
            connection.default_channel.exchange_declare(
                "dns.submit", "direct", durable=True, auto_delete=False
            )
        with pytest.raises(SubmissionFailed, match=r"queue dns\.intake is missing"):
            client.put_record(**RECORD)
        broker.declare(Settings(broker_url=broker_url), [])
        client.put_record(**RECORD)
    (message,) = take(broker_url, 1)
    assert message["order"]["number"] == 1
    assert message["order"]["skips"] == []


def test_a_broker_that_is_down_fails_at_once_without_its_password(rabbitmq: RabbitMQ, declared: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free_port = listener.getsockname()[1]
    url = declared.replace(f":{rabbitmq.port}/", f":{free_port}/")
    started = time.monotonic()
    with Client(url) as client, pytest.raises(SubmissionFailed, match="Connection refused") as caught:
        client.put_record(**RECORD)
    assert time.monotonic() - started < HANG_S
    assert rabbitmq.password not in str(caught.value)
    assert caught.value.operation_id


def test_a_wrong_password_is_said_without_it(rabbitmq: RabbitMQ, declared: str) -> None:
    url = declared.replace(rabbitmq.password, "wrong-password")
    with Client(url) as client, pytest.raises(SubmissionFailed, match="ACCESS_REFUSED") as caught:
        client.put_record(**RECORD)
    assert "wrong-password" not in str(caught.value)


def test_a_frozen_broker_costs_no_more_than_the_timeout(
    rabbitmq: RabbitMQ, declared: str, swallower: Swallower
) -> None:
    with Client(through(swallower, rabbitmq, declared), timeout_s=1) as client:
        client.put_record(**RECORD)
        swallower.is_swallowing.set()
        for _ in range(2):  # on the kept connection, then on a fresh one
            started = time.monotonic()
            with pytest.raises(SubmissionFailed, match="no answer within 1 s"):
                client.put_record(**RECORD)
            assert time.monotonic() - started < HANG_S
        swallower.is_swallowing.clear()
        client.put_record(**RECORD)
        client.put_record(**RECORD)
    orders = [message["order"] for message in take(declared, 3)]
    # The second was sent and never confirmed: void. The third met no connection: given again.
    assert [(order["number"], order["skips"]) for order in orders] == [(1, []), (3, [2]), (4, [])]


def test_a_stopped_broker_process_costs_no_more_than_the_timeout(rabbitmq: RabbitMQ, declared: str) -> None:
    with Client(declared, timeout_s=1) as client:
        client.put_record(**RECORD)
        rabbitmq.pause()
        try:
            started = time.monotonic()
            with pytest.raises(SubmissionFailed) as caught:
                client.put_record(**RECORD)
            assert time.monotonic() - started < HANG_S
            assert caught.value.may_have_arrived
        finally:
            rabbitmq.cont()
        client.put_record(**RECORD)
    orders = [message["order"] for message in take(declared, 2)]
    # Of the second nobody knows: what lay unread at the broker goes with a connection that is reset.
    assert [order["number"] for order in orders] in ([1, 2, 3], [1, 3])
    assert orders[-1]["skips"] == [2]


def test_a_kept_connection_that_died_is_replaced(rabbitmq: RabbitMQ, declared: str) -> None:
    with Client(declared) as client:
        client.put_record(**RECORD)
        rabbitmq.stop_app()
        rabbitmq.start_app()
        client.put_record(**RECORD)
    assert {message["order"]["number"] for message in take(declared, 2)} == {1, 2}


def test_a_failover_list_is_tried_in_turn(rabbitmq: RabbitMQ, declared: str) -> None:
    with Client(f"amqp://127.0.0.1:1//;{declared}") as client:
        client.put_record(**RECORD)
    take(declared, 1)


def test_the_order_in_the_queue_is_the_order_of_the_numbers(client: Client, declared: str) -> None:
    def work(number: int) -> None:
        for _ in range(10):
            client.put_record(f"zone{number % 2}.example", "www", "A", ["192.0.2.1"])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    messages = take(declared, 80)
    for zone in ("zone0.example.", "zone1.example."):
        orders = [message["order"] for message in messages if message["zone"] == zone]
        assert [order["number"] for order in orders] == list(range(1, 41))
        assert len({order["client"] for order in orders}) == 1


def test_a_client_that_is_not_ordered_sends_no_number(declared: str) -> None:
    with Client(declared, is_ordered=False) as client:
        client.put_record(**RECORD)
    assert "order" not in take(declared, 1)[0]


def test_a_message_is_durable_and_shows_no_data(client: Client, declared: str) -> None:
    client.put_record("example.org", "www", "TXT", ['"secret"'])
    with Connection(declared) as connection:
        channel = connection.default_channel
        message = None

        def arrived() -> bool:
            nonlocal message
            message = channel.basic_get("dns.intake", no_ack=True)
            return message is not None

        wait_until(arrived, 60, "the message")
        assert message is not None
    assert message.properties["delivery_mode"] == 2
    assert "secret" not in str(message.headers)
    assert message.headers["kwargsrepr"] == "put_record www.example.org. TXT"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_another_client_and_leaves_the_parent_its_connection(
    client: Client, declared: str
) -> None:
    client.put_record(**RECORD)
    pid = os.fork()
    if pid == 0:
        try:
            client.put_record(**RECORD)
            client.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    kept = client._way._publisher._idle[0]  # type: ignore[attr-defined]
    client.put_record(**RECORD)
    assert client._way._publisher._idle[0] is kept  # type: ignore[attr-defined]
    orders = [message["order"] for message in take(declared, 3)]
    parents = [order["number"] for order in orders if order["client"] == orders[0]["client"]]
    others = [order["number"] for order in orders if order["client"] != orders[0]["client"]]
    assert (parents, others) == ([1, 2], [1])


def test_an_outcome_is_pushed_to_whoever_waits(
    worker: Process, broker_url: str, redis: Redis, notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "FIRST_QUESTION_S", 3600.0)
    with Client(broker_url, redis.url) as client:
        client.put_record(**RECORD).wait(60)
        operation = client.put_record(**RECORD, comment="slow")
        notes.wait_for("received", 2)
        released_at = []

        def release() -> None:
            released_at.append(time.monotonic())
            notes.release()

        timer = threading.Timer(0.3, release)
        timer.start()
        outcome = operation.wait(60)
        assert time.monotonic() - released_at[0] < HANG_S  # long before the client would have asked
        timer.join()
        assert outcome.status is Status.ACTIVE
        assert outcome.id == operation.id
        assert outcome.serial == 7
        assert operation.wait(0.5) == outcome  # and is there to be read again


def test_an_outcome_whose_push_was_lost_is_asked_for(
    worker: Process, broker_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "FIRST_QUESTION_S", 0.2)
    with Client(broker_url, redis.url) as client:
        assert client.put_record(**RECORD, comment="untold").wait(60).status is Status.ACTIVE


def test_waiting_ends_when_its_time_is_over(client: Client) -> None:
    started = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"has not ended after 0\.5 s"):
        client.put_record(**RECORD).wait(0.5)
    assert time.monotonic() - started < HANG_S


def test_waiting_survives_redis_being_away(
    worker: Process, broker_url: str, redis: Redis, notes: Any
) -> None:
    with Client(broker_url, redis.url, timeout_s=2) as client:
        operation = client.put_record(**RECORD)
        operation.wait(60)
        redis.pause()
        started = time.monotonic()
        try:
            with pytest.raises(WaitTimeout):
                operation.wait(1)
            with pytest.raises(NoAnswer):
                operation.status()
        finally:
            redis.cont()
        assert time.monotonic() - started < HANG_S
        assert operation.wait(60).status is Status.ACTIVE


def test_a_refused_operation_raises_its_code_and_outcome(
    worker: Process, broker_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(broker_url, redis.url) as client:
        # A request that only the worker finds fault with: it passes here and not there.
        monkeypatch.setattr(
            "dnsworker.requests.request.Request.payload", lambda self: {"zone": self.zone, "x": 1}
        )
        operation = client.delete_zone("example.org")
        with pytest.raises(OperationFailed, match="x is not an argument") as caught:
            operation.wait(60)
        assert caught.value.code == "InvalidRequest"
        assert caught.value.outcome.status is Status.ERROR
        assert operation.status() is Status.ERROR


def test_questions_are_answered_and_their_answers_not_kept(
    worker: Process, broker_url: str, redis: Redis, notes: Any
) -> None:
    with Client(broker_url, redis.url) as client:
        assert client.show_zone("example.org") == {"zone": "example.org.", "kind": "show_zone"}
        assert client.export_zone("example.org")["kind"] == "export_zone"  # type: ignore[index]
        with pytest.raises(ZoneNotFound, match=r"no zone absent\.example"):
            client.show_zone("absent.example")
        with pytest.raises(OperationNotFound):
            client.show_operation("unknown")
        assert client.put_record(**RECORD).wait(60).status is Status.ACTIVE
    assert len(notes.redis.keys("celery-task-meta-*")) == 1
    assert "Traceback" not in worker.tail(200)


def test_a_question_without_workers_ends_in_time(declared: str, redis: Redis) -> None:
    with Client(declared, redis.url, timeout_s=0.5) as client:
        started = time.monotonic()
        with pytest.raises(NoAnswer, match=r"no worker answered show_zone within 0\.5 s"):
            client.show_zone("example.org")
        assert time.monotonic() - started < HANG_S


def test_many_wait_at_the_same_time(worker: Process, broker_url: str, redis: Redis) -> None:
    async def run() -> set[Status]:
        async with AsyncClient(broker_url, redis.url) as client:
            operations = await asyncio.gather(
                *(client.put_record(f"z{n}.example", "www", "A", ["192.0.2.1"]) for n in range(40))
            )
            outcomes = await asyncio.gather(*(operation.wait(60) for operation in operations))
            assert (await client.show_zone("example.org"))["zone"] == "example.org."
            assert await operations[0].status() is Status.ACTIVE
            return {outcome.status for outcome in outcomes}

    assert asyncio.run(run()) == {Status.ACTIVE}


def test_a_repeated_id_is_passed_on(client: Client, declared: str) -> None:
    first = client.put_record(**RECORD)
    again = client.put_record(**RECORD, operation_id=first.id)
    assert again.id == first.id
    take(declared, 2)


def test_submitting_is_quick(client: Client, record_property: Callable[[str, object], None]) -> None:
    client.put_record(**RECORD)
    started = time.monotonic()
    for number in range(300):
        client.put_record("example.org", f"n{number}", "A", ["192.0.2.1"])
    rate = 300 / (time.monotonic() - started)
    record_property("submissions_per_s", round(rate))
    print(f"{rate:.0f} submissions/s")
    assert rate > 50
