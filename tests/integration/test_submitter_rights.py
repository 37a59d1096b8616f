"""What the shipped definitions let a submitter do at RabbitMQ and Redis, with real users: submit and wait."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp
import pytest
import redis as redis_client
from kombu import Connection, Exchange, Queue

from dev.servers import RabbitMQ, Redis
from dev.servers.process import Process
from dnsworker import Client, SubmissionFailed
from dnsworker.cli import broker
from dnsworker.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORD = "of the submitter"
_numbers = itertools.count(1)


@pytest.fixture
def urls(rabbitmq: RabbitMQ) -> Iterator[tuple[str, str]]:
    """A vhost with the shipped users and all queues: URLs of `worker` and of `submitter`."""
    vhost = f"rights_{next(_numbers)}"
    rabbitmq.add_vhost(vhost)
    definitions = json.loads((DEPLOY / "rabbitmq-definitions.json").read_text())
    del definitions["vhosts"]
    for permission in definitions["permissions"]:
        permission["vhost"] = vhost
    rabbitmq._define(**definitions)
    rabbitmq._define(
        users=[{"name": name, "password": PASSWORD, "tags": ""} for name in ("worker", "submitter")]
    )
    worker, submitter = (rabbitmq.url_for(name, PASSWORD, vhost) for name in ("worker", "submitter"))
    broker.declare(Settings(broker_url=worker), ["bind-1"])
    yield worker, submitter
    rabbitmq.remove_vhost(vhost)


@pytest.fixture
def results(redis: Redis) -> Iterator[tuple[str, str]]:
    """URLs of the administrator and of `submitter`."""
    (_, name, *rules) = (DEPLOY / "redis-submitters.acl").read_text().split()
    with redis_client.Redis.from_url(redis.url) as admin:
        admin.execute_command("ACL", "SETUSER", name, *rules, "on", ">secret")
        yield redis.url, redis.url.replace("redis://", f"redis://{name}:secret@")
        admin.execute_command("ACL", "DELUSER", name)


def test_no_shipped_user_can_log_in_before_it_has_a_password(rabbitmq: RabbitMQ, redis: Redis) -> None:
    definitions = json.loads((DEPLOY / "rabbitmq-definitions.json").read_text())
    assert {user["password_hash"] for user in definitions["users"]} == {""}
    vhost = rabbitmq.add_vhost("nobody")
    rabbitmq._define(users=[{"name": "shipped", "password_hash": "", "tags": ""}])
    with pytest.raises(amqp.AccessRefused), Connection(rabbitmq.url_for("shipped", "", "nobody")) as one:
        one.connect()
    assert vhost
    rabbitmq.remove_vhost("nobody")
    assert (DEPLOY / "redis-submitters.acl").read_text().split()[2] == "off"


def test_a_submitter_submits_and_waits_and_asks(
    urls: tuple[str, str],
    results: tuple[str, str],
    start_worker: Callable[..., Process],
) -> None:
    start_worker(DNSWORKER_BROKER_URL=urls[0])
    with Client(urls[1], results[1]) as client:
        operation = client.put_record("example.org", "www", "A", ["192.0.2.1"])
        outcome = operation.wait(60)
        assert (outcome.status, outcome.submitter) == ("ACTIVE", "submitter")
        assert client.show_zone("example.org")["zone"] == "example.org."


FORBIDDEN: dict[str, Callable[[amqp.Channel], object]] = {
    "consume": lambda channel: channel.basic_consume("dns.intake"),
    "get": lambda channel: channel.basic_get("dns.intake"),
    "read the dead": lambda channel: channel.basic_get("dns.dead"),
    "declare": lambda channel: channel.queue_declare("mine", durable=True),
    "declare ours": lambda channel: Queue("dns.intake", Exchange("dns.submit"), channel=channel).declare(),
    "bind": lambda channel: channel.queue_bind("dns.intake", "dns.internal", "sweep"),
    "purge": lambda channel: channel.queue_purge("dns.intake"),
    "delete": lambda channel: channel.queue_delete("dns.intake"),
    "delete the exchange": lambda channel: channel.exchange_delete("dns.submit"),
    "wake workers": lambda channel: channel.basic_publish(amqp.Message("x"), "dns.internal", "sweep"),
    "command workers": lambda channel: channel.basic_publish(amqp.Message("x"), "celery.pidbox", ""),
    "by the default exchange": lambda channel: channel.basic_publish(amqp.Message("x"), "", "dns.intake"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_and_nothing_else(urls: tuple[str, str], what: str) -> None:
    worker, submitter = urls
    with Connection(worker) as connection:
        connection.default_channel.exchange_declare("celery.pidbox", "fanout", auto_delete=False)
    confirmed = Connection(submitter, transport_options={"confirm_publish": True})
    with confirmed as connection, pytest.raises(amqp.AccessRefused):
        FORBIDDEN[what](connection.default_channel)


def test_what_the_client_is_told_names_the_permission(urls: tuple[str, str], rabbitmq: RabbitMQ) -> None:
    vhost = urls[1].rpartition("/")[2]
    url = rabbitmq.add_user("reader", PASSWORD, vhost=vhost, configure="", write="", read=".*")
    with Client(url) as client, pytest.raises(SubmissionFailed, match=r"access .*dns\.submit.* refused"):
        client.put_record("example.org", "www", "A", ["192.0.2.1"])


@pytest.mark.parametrize(
    "command",
    [
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("GET", "dnsworker:budget:bind-1"),
        ("SET", "celery-task-meta-1", "forged"),
        ("PUBLISH", "celery-task-meta-1", "forged"),
        ("PSUBSCRIBE", "*"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
    ],
    ids=" ".join,
)
def test_at_redis_a_submitter_reads_results_whose_id_it_knows(
    results: tuple[str, str], command: tuple[str, ...]
) -> None:
    with redis_client.Redis.from_url(results[1]) as client:
        assert client.get("celery-task-meta-unknown") is None
        with pytest.raises(redis_client.exceptions.NoPermissionError):
            client.execute_command(*command)
