"""What becomes of messages, good and bad, at a real broker and a real worker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import amqp
import pytest
from celery import Celery, chain
from kombu import Connection

from dev.servers.process import Process, wait_until
from dev.servers.rabbitmq import RabbitMQ
from dev.servers.redis import Redis
from dnsworker.broker import Publisher
from dnsworker.cli import broker
from dnsworker.client import Client
from dnsworker.errors import ConfigError
from dnsworker.messages import Message
from dnsworker.settings import Settings

RECORD = {"zone": "example.org", "name": "www", "type": "A", "data": ["192.0.2.1"]}
WRITE_ONLY = {"configure": "", "write": "^dns\\.submit$", "read": ""}
ROUTES = {"dnsworker.*": {"exchange": "dns.submit", "routing_key": "intake"}}


def plain_celery(broker_url: str, result_url: str | None = None) -> Celery:
    """What a service has that only knows Celery, with the two lines of the README."""
    app = Celery("service", broker=broker_url, backend=result_url, set_as_current=False)
    app.conf.task_routes = ROUTES
    return app


def publish(broker_url: str, message: Message) -> None:
    publisher = Publisher(broker_url)
    publisher.publish(message, 5)
    publisher.close()


def publish_raw(
    broker_url: str,
    body: str | bytes,
    *,
    headers: dict[str, Any] | None = None,
    exchange: str = "dns.submit",
    key: str = "intake",
    content_type: str = "application/json",
    **properties: Any,
) -> None:
    with Connection(broker_url, transport_options={"confirm_publish": True}) as connection:
        channel = connection.default_channel
        message = amqp.Message(
            body.encode() if isinstance(body, str) else body,
            content_type=content_type,
            content_encoding="utf-8" if content_type == "application/json" else "binary",
            application_headers=headers
            if headers is not None
            else {"task": "dnsworker.put_record", "id": "x1"},
            **properties,
        )
        channel.basic_publish(message, exchange=exchange, routing_key=key, mandatory=True, timeout=5)


def test_a_plain_celery_submission_is_received_and_its_outcome_is_its_result(
    worker: Process, broker_url: str, redis: Redis, notes: Any
) -> None:
    result = plain_celery(broker_url, redis.url).send_task("dnsworker.put_record", kwargs=RECORD)
    outcome = result.get(timeout=10)
    assert (outcome["id"], outcome["status"]) == (result.id, "ACTIVE")
    assert notes.received()[0]["arguments"] == RECORD


def test_taking_an_operation_in_is_not_its_outcome(
    worker: Process, broker_url: str, redis: Redis, notes: Any
) -> None:
    # Celery before 5.7 asks for the task's own result by default; it would be there first, and stay.
    app = plain_celery(broker_url, redis.url)
    for arguments in (RECORD, {"zone": "example.org"}):
        app.send_task("dnsworker.put_record", kwargs=arguments | {"comment": "untold"}, ignore_result=False)
    notes.wait_for("done", 2)
    worker.stop(10)
    assert notes.redis.keys("celery-task-meta-*") == []


def test_a_user_who_may_only_write_can_submit_with_two_lines(
    worker: Process, rabbitmq: RabbitMQ, broker_url: str, notes: Any
) -> None:
    vhost = broker_url.rsplit("/", 1)[1]
    url = rabbitmq.add_user("writer", "pw", vhost=vhost, **WRITE_ONLY)
    app = plain_celery(url)
    app.send_task("dnsworker.put_record", kwargs=RECORD, ignore_result=True)
    notes.wait_for("done")


def test_the_clients_user_is_vouched_for_by_the_broker(
    worker: Process, rabbitmq: RabbitMQ, broker_url: str, notes: Any
) -> None:
    url = rabbitmq.add_user("alice", "pw", vhost=broker_url.rsplit("/", 1)[1], **WRITE_ONLY)
    with Client(url) as client:
        client.put_record(**RECORD)
    notes.wait_for("done")
    assert notes.received()[0]["user"] == "alice"


def test_a_forged_user_is_refused_by_the_broker(worker: Process, broker_url: str, notes: Any) -> None:
    body = json.dumps([[], RECORD, {}])
    with pytest.raises(amqp.PreconditionFailed, match="user_id"):
        publish_raw(broker_url, body, user_id="root")
    assert notes.received() == []


def test_a_user_in_the_headers_is_not_believed(worker: Process, broker_url: str, notes: Any) -> None:
    headers = {
        "task": "dnsworker.put_record",
        "id": "x1",
        "user_id": "root",
        "properties": {"user_id": "root"},
    }
    publish_raw(broker_url, json.dumps([[], RECORD, {}]), headers=headers)
    notes.wait_for("done")
    assert notes.received()[0]["user"] is None


def test_missing_arguments_are_an_outcome_with_a_code(
    worker: Process, broker_url: str, redis: Redis, count_messages: Callable[[str], int | None]
) -> None:
    result = plain_celery(broker_url, redis.url).send_task(
        "dnsworker.put_record", kwargs={"zone": "example.org"}
    )
    with pytest.raises(Exception, match="name is missing") as caught:
        result.get(timeout=10)
    assert caught.value.args[0] == "InvalidRequest"
    assert caught.value.args[2]["status"] == "ERROR"
    assert count_messages("dns.dead") == 0


def test_positional_arguments_are_an_outcome_with_a_code(
    worker: Process, broker_url: str, redis: Redis
) -> None:
    result = plain_celery(broker_url, redis.url).send_task("dnsworker.delete_zone", args=["example.org"])
    with pytest.raises(Exception, match="by keyword") as caught:
        result.get(timeout=10)
    assert caught.value.args[0] == "InvalidRequest"


BAD_MESSAGES: dict[str, dict[str, Any]] = {
    "broken JSON": {"body": '[[], {"zone": '},
    "not UTF-8": {"body": b"\xff\xfe[]"},
    "pickle": {"body": b"\x80\x04]\x94.", "content_type": "application/x-python-serialize"},
    "plain text": {"body": "hello", "content_type": "text/plain"},
    "a number": {"body": "17"},
    "null": {"body": "null"},
    "protocol 1": {
        "body": json.dumps({"task": "dnsworker.put_record", "id": "x", "kwargs": RECORD}),
        "headers": {},
    },
    "kwargs that are a list": {"body": json.dumps([[], [1], {}])},
    "options that are a list": {"body": json.dumps([[], RECORD, [1]])},
    "no id": {"body": json.dumps([[], RECORD, {}]), "headers": {"task": "dnsworker.put_record"}},
    "an endless id": {
        "body": json.dumps([[], RECORD, {}]),
        "headers": {"task": "dnsworker.put_record", "id": "x" * 300},
    },
    "an unknown task": {
        "body": json.dumps([[], {}, {}]),
        "headers": {"task": "dnsworker.nonsense", "id": "x"},
    },
    "a task of Celery's": {
        "body": json.dumps([[], {}, {}]),
        "headers": {"task": "celery.backend_cleanup", "id": "x"},
    },
    "an internal task": {
        "body": json.dumps([[], {"target": "ns1"}, {}]),
        "headers": {"task": "dnsworker.deliver", "id": "x"},
    },
    "an ETA": {
        "body": json.dumps([[], RECORD, {}]),
        "headers": {"task": "dnsworker.put_record", "id": "x", "eta": "2099-01-01T00:00:00+00:00"},
    },
    "an expiry": {
        "body": json.dumps([[], RECORD, {}]),
        "headers": {"task": "dnsworker.put_record", "id": "x", "expires": "2099-01-01T00:00:00+00:00"},
    },
    "a group": {
        "body": json.dumps([[], RECORD, {}]),
        "headers": {"task": "dnsworker.put_record", "id": "x", "group": "g"},
    },
    "callbacks": {"body": json.dumps([[], RECORD, {"callbacks": [{"task": "dnsworker.sweep"}]}])},
    "errbacks": {"body": json.dumps([[], RECORD, {"errbacks": [{"task": "dnsworker.sweep"}]}])},
    "a chain": {"body": json.dumps([[], RECORD, {"chain": [{"task": "dnsworker.sweep"}]}])},
    "a chord": {"body": json.dumps([[], RECORD, {"chord": {"task": "dnsworker.sweep"}}])},
    "bad gzip": {
        "body": b"not gzip",
        "headers": {"task": "dnsworker.put_record", "id": "x", "compression": "application/x-gzip"},
    },
}


def test_what_cannot_be_handled_is_kept_as_a_dead_letter_and_the_worker_goes_on(
    worker: Process, broker_url: str, notes: Any, count_messages: Callable[[str], int | None]
) -> None:
    for bad in BAD_MESSAGES.values():
        publish_raw(broker_url, **bad)
    wait_until(lambda: (count_messages("dns.dead") or 0) >= len(BAD_MESSAGES), 60, "all dead letters")
    assert notes.received() == []
    plain_celery(broker_url).send_task("dnsworker.put_record", kwargs=RECORD, ignore_result=True)
    notes.wait_for("done")
    assert worker.tail(200).count("dead letter") == len(BAD_MESSAGES)
    assert count_messages("dns.intake") == 0


def test_celerys_own_countdown_and_chain_end_as_dead_letters(
    worker: Process, broker_url: str, notes: Any, count_messages: Callable[[str], int | None]
) -> None:
    app = plain_celery(broker_url)
    app.send_task("dnsworker.put_record", kwargs=RECORD, countdown=1, ignore_result=True)
    put = app.signature("dnsworker.put_record", kwargs=RECORD, immutable=True, app=app)
    chain(put, put, app=app).apply_async(ignore_result=True)
    wait_until(lambda: count_messages("dns.dead") == 2, 60, "two dead letters")
    assert notes.received() == []


def test_a_broken_task_is_tried_again_and_then_kept(
    worker: Process, broker_url: str, notes: Any, count_messages: Callable[[str], int | None]
) -> None:
    with Client(broker_url) as client:
        client.put_record(**RECORD, comment="broken")
    wait_until(lambda: count_messages("dns.dead") == 1, 60, "the dead letter")
    assert len(notes.received()) == 3


def test_while_the_database_is_away_the_message_waits_and_is_delivered_once(
    worker: Process, broker_url: str, redis: Redis, notes: Any
) -> None:
    with Client(broker_url, redis.url) as client:
        operation = client.put_record(**RECORD, comment="away")
        notes.wait_for("received", 3)
        assert notes.all("done") == []
        notes.release()
        assert operation.wait(60).status == "ACTIVE"
    wait_until(lambda: "database is back" in worker.tail(), 60, "the worker to say that it is back")
    assert worker.tail(200).count("database is away") == 1
    assert len(notes.received()) < 20  # it backs off


def test_a_worker_that_waits_for_the_database_stops_when_told_and_the_message_stays(
    worker: Process, broker_url: str, notes: Any, count_messages: Callable[[str], int | None]
) -> None:
    with Client(broker_url) as client:
        client.put_record(**RECORD, comment="away")
    notes.wait_for("received")
    worker.stop(15)
    assert worker.returncode == 0
    wait_until(lambda: count_messages("dns.intake") == 1, 60, "the message to be ready again")
    assert count_messages("dns.dead") == 0


def test_a_broker_restart_is_survived_and_what_ran_is_delivered_again(
    worker: Process, rabbitmq: RabbitMQ, broker_url: str, redis: Redis, notes: Any, count_messages: Any
) -> None:
    notes.redis.rpush("targets", "bind-1")
    with Client(broker_url, redis.url) as client:
        slow = client.put_record(**RECORD, comment="slow")
        notes.wait_for("received")
        rabbitmq.stop_app()
        rabbitmq.start_app()
        notes.wait_for("received", 2, timeout_s=60)
        notes.release()
        assert slow.wait(60).status == "ACTIVE"
        assert client.put_record(**RECORD).wait(60).status == "ACTIVE"
    assert {note["id"] for note in notes.received()[:2]} == {slow.id}
    wait_until(lambda: count_messages("dns.deliver.bind-1") == 0, 60, "the new target's queue")
    publish(broker_url, Message("dnsworker.sweep", "s1", {}, "dns.internal", "sweep"))
    notes.wait_for("delivered")


def test_w8_a_killed_workers_message_is_delivered_again(
    start_worker: Callable[..., Process], broker_url: str, redis: Redis, notes: Any
) -> None:
    first = start_worker()
    with Client(broker_url, redis.url) as client:
        operation = client.put_record(**RECORD, comment="slow")
        notes.wait_for("received")
        first.kill()
        start_worker()
        notes.release()
        assert operation.wait(60).status == "ACTIVE"
    assert [note["id"] for note in notes.received()] == [operation.id] * 2
    notes.wait_for("done")
    assert notes.all("done") == [operation.id]


def test_w20_sigterm_finishes_what_runs_and_leaves_the_rest(
    start_worker: Callable[..., Process], broker_url: str, notes: Any, count_messages: Any
) -> None:
    worker = start_worker(DNSWORKER_CONCURRENCY="1")
    with Client(broker_url) as client:
        slow = client.put_record(**RECORD, comment="slow")
        notes.wait_for("received")
        client.put_record(**RECORD)
    worker._popen.terminate()
    wait_until(lambda: "shutdown" in worker.tail(), 60, "the shutdown to begin")
    notes.release()
    assert worker.wait(60)
    assert (worker.returncode, notes.all("done")) == (0, [slow.id])
    assert len(notes.all("stopped")) == 1
    assert count_messages("dns.intake") == 1


def test_an_idle_worker_ends_at_once(start_worker: Callable[..., Process]) -> None:
    """It used to see the order at its next timer, two seconds later; one of six meets no busy moment."""
    took_s = []
    for _ in range(6):
        worker = start_worker()
        begun = time.monotonic()
        worker._popen.terminate()
        assert worker.wait(60)
        took_s.append(time.monotonic() - begun)
        if took_s[-1] < 1.5:
            break
    assert min(took_s) < 1.5
    log = worker.tail()
    assert worker.returncode == 0
    assert "superuser" not in log
    assert ("running as root; give the worker a user of its own" in log) == (os.geteuid() == 0)


def test_w20_a_hanging_task_does_not_keep_the_process(
    start_worker: Callable[..., Process], broker_url: str, notes: Any, count_messages: Any
) -> None:
    worker = start_worker(DNSWORKER_SHUTDOWN_GRACE_S="1")
    with Client(broker_url) as client:
        client.put_record(**RECORD, comment="slow")
        notes.wait_for("received")
        worker._popen.terminate()
        assert worker.wait(60)
    assert worker.returncode == 1
    wait_until(lambda: count_messages("dns.intake") == 1, 60, "the message to be ready again")


def test_new_targets_are_taken_without_a_restart(
    start_worker: Callable[..., Process], broker_url: str, notes: Any, count_messages: Any
) -> None:
    notes.redis.rpush("targets", "bind-1")
    start_worker()
    assert count_messages("dns.deliver.bind-1") == 0
    notes.redis.rpush("targets", "pdns-1")
    wait_until(lambda: count_messages("dns.deliver.pdns-1") == 0, 60, "the new target's queue")
    sweep = Message("dnsworker.sweep", "s1", {}, "dns.internal", "sweep")
    publish(broker_url, sweep)
    assert sorted(notes.wait_for("delivered", 2)) == ["bind-1", "pdns-1"]


def test_a_dedicated_worker_takes_only_its_queues(
    start_worker: Callable[..., Process], broker_url: str, notes: Any, count_messages: Any
) -> None:
    notes.redis.rpush("targets", "bind-1")
    start_worker("dns.deliver")
    with Client(broker_url) as client:
        client.put_record(**RECORD)  # the queue exists all the same
    for number in range(3):
        message = Message(
            "dnsworker.deliver", f"d{number}", {"target": "bind-1"}, "dns.internal", "deliver.bind-1"
        )
        publish(broker_url, message)
    notes.wait_for("delivered", 3)
    assert notes.received() == []
    assert count_messages("dns.intake") == 1


def test_no_delay_queues_are_declared(worker: Process, rabbitmq: RabbitMQ, broker_url: str) -> None:
    vhost = broker_url.rsplit("/", 1)[1]
    names = rabbitmq.control("list_exchanges", "-p", vhost, "name").split()
    assert not [name for name in names if "delay" in name]
    assert {"dns.submit", "dns.internal", "dns.dead"} <= set(names)


def test_a_queue_with_other_arguments_stops_the_worker_with_one_line(
    start_worker: Callable[..., Process], broker_url: str
) -> None:
    with Connection(broker_url) as connection:
        connection.default_channel.queue_declare("dns.intake", durable=True, auto_delete=False)
    with pytest.raises(ConfigError, match="other arguments"):
        broker.declare(Settings(broker_url=broker_url), [])
    worker = start_worker(is_awaited=False)
    assert worker.wait(60)
    assert worker.returncode == 1
    assert "exists with other arguments" in worker.tail(200)
    assert "Traceback" not in worker.tail(200)


def test_a_mistyped_queue_is_said_at_once(start_worker: Callable[..., Process]) -> None:
    worker = start_worker("dns.intaek", is_awaited=False)
    assert worker.wait(60)
    assert worker.returncode == 1
    assert "no queue 'dns.intaek'" in worker.tail()


def test_a_worker_starts_before_its_broker(
    start_worker: Callable[..., Process], rabbitmq: RabbitMQ, redis: Redis, broker_url: str, notes: Any
) -> None:
    rabbitmq.stop_app()
    try:
        worker = start_worker(is_awaited=False)
        wait_until(lambda: "Cannot connect" in worker.tail(), 60, "the worker to say it")
    finally:
        rabbitmq.start_app()
    with Client(broker_url, redis.url) as client:
        wait_until(lambda: "READY" in worker.tail(200), 60, "the worker")
        assert client.put_record(**RECORD).wait(60).status == "ACTIVE"
    assert "Traceback" not in worker.tail(200)
