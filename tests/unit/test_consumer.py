"""Which messages a worker takes, and which it puts aside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import amqp
import pytest
from kombu.compression import compress
from kombu.transport import pyamqp

from dnsworker.consumer import QueueConsumer, reason_to_refuse, tidy
from dnsworker.messages import Message
from dnsworker.queues import ASKABLE, SUBMITTABLE

RECORD = {"zone": "example.org", "name": "www", "type": "A", "data": ["192.0.2.1"]}


def received(
    task: str = "dnsworker.put_record",
    *,
    exchange: str = "dns.submit",
    payload: Any = None,
    embedded: dict[str, Any] | None = None,
    content_type: str = "application/json",
    **headers: Any,
) -> Any:
    sent = Message(task, "x", RECORD, exchange, "intake").headers() | headers
    return SimpleNamespace(
        headers={name: value for name, value in sent.items() if value is not ...},
        content_type=content_type,
        payload=payload if payload is not None else [[], dict(RECORD), embedded or {}],
        delivery_info={"exchange": exchange, "routing_key": "intake"},
        properties={},
    )


@pytest.mark.parametrize("task", sorted(SUBMITTABLE | ASKABLE))
def test_what_submitters_may_send_is_taken(task: str) -> None:
    assert reason_to_refuse(received(task)) is None


@pytest.mark.parametrize("task", ["dnsworker.deliver", "dnsworker.intake", "dnsworker.sweep"])
def test_internal_tasks_come_through_the_internal_exchange_only(task: str) -> None:
    assert reason_to_refuse(received(task, exchange="dns.internal")) is None
    for exchange in ("dns.submit", "", "celery"):
        assert "not for submitters" in str(reason_to_refuse(received(task, exchange=exchange)))


@pytest.mark.parametrize("exchange", ["dns.submit", "dns.internal"])
@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"task": "celery.chain"}, "no task 'celery.chain'"),
        ({"task": "os.system"}, "no task"),
        ({"task": ""}, "no task"),
        ({"content_type": "application/x-python-serialize"}, "only application/json"),
        ({"id": ...}, "no usable id"),
        ({"id": ""}, "no usable id"),
        ({"id": 7}, "no usable id"),
        ({"id": "x" * 65}, "no usable id"),
        ({"id": "a\nb"}, "no usable id"),
        ({"payload": "text"}, "isn't [args, kwargs, options]"),
        ({"payload": [[], {}]}, "isn't [args, kwargs, options]"),
        ({"payload": [{}, {}, {}]}, "args aren't a list"),
        ({"payload": [[], [], {}]}, "kwargs no object"),
    ],
)
def test_what_makes_no_sense_is_refused_wherever_it_comes_from(
    exchange: str, message: dict[str, Any], words: str
) -> None:
    assert words in str(reason_to_refuse(received(exchange=exchange, **message)))


def test_a_message_without_headers_is_refused() -> None:
    message = received()
    message.headers = None
    assert "not a task message" in str(reason_to_refuse(message))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"eta": "2099-01-01T00:00:00Z"}, "ETA"),
        ({"expires": "2099-01-01T00:00:00Z"}, "expiry"),
        ({"group": "g"}, "group"),
        ({"embedded": {"callbacks": [{}]}}, "callbacks"),
        ({"embedded": {"errbacks": [{}]}}, "errbacks"),
        ({"embedded": {"chain": [{}]}}, "chain"),
        ({"embedded": {"chord": {"task": "x"}}}, "chord"),
        ({"payload": [[], {}, [1]]}, "options are no object"),
    ],
)
def test_a_submission_brings_nothing_that_the_worker_would_do_with_its_own_rights(
    message: dict[str, Any], words: str
) -> None:
    assert words in str(reason_to_refuse(received(**message)))


def test_a_question_may_expire() -> None:
    assert reason_to_refuse(received("dnsworker.show_zone", expires="2099-01-01T00:00:00Z")) is None


def test_a_submitters_headers_are_tidied() -> None:
    message = received(
        shadow="dnsworker.sweep",
        ignore_result=False,
        kwargsrepr="{'data': ['secret']}",
        argsrepr="(secret,)",
        timelimit=[1, 1],
    )
    tidy(message)
    assert message.headers["ignore_result"] is True
    assert message.headers["kwargsrepr"] == "example.org www A"
    assert message.headers["argsrepr"] == ""
    assert not {"shadow", "timelimit"} & set(message.headers)


def test_a_questions_result_is_kept() -> None:
    message = received("dnsworker.show_zone", ignore_result=False)
    tidy(message)
    assert message.headers["ignore_result"] is False


def test_text_that_is_not_text_breaks_nothing() -> None:
    message = received(payload=[[], {"zone": ["x"], "name": None, "type": {"a": 1}}, None])
    assert reason_to_refuse(message) is None
    tidy(message)
    assert message.headers["kwargsrepr"] == ""


def test_nothing_is_unpacked_before_it_is_judged() -> None:
    """A megabyte may be as many gigabytes as it takes to kill each worker that gets it."""
    body, packing = compress(b"[[], {}, {}]", "zlib")
    channel = Mock(spec=pyamqp.Channel)
    channel.message_to_python = lambda raw: pyamqp.Message(raw, channel=channel)
    seen: list[Any] = []
    consumer = QueueConsumer(
        channel, [], usual=1, on_message=seen.append, accept=["json"], auto_declare=False
    )
    headers = Message("dnsworker.put_record", "x", RECORD, "dns.submit", "intake").headers()
    received = amqp.Message(
        body, application_headers=headers | {"compression": packing}, content_type="application/json"
    )
    received.delivery_info = {"exchange": "dns.submit"}
    consumer._receive_callback(received)
    assert [one.body for one in seen] == [body]
    assert reason_to_refuse(seen[0]) == "compressed ('application/x-gzip'); send it as it is"
