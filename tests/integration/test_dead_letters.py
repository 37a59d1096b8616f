"""Dead letters at a real broker: looked at without harm, sent back without loss, thrown away when meant."""

from __future__ import annotations

import json
from typing import Any

import kombu
import pytest
from click.testing import CliRunner, Result

from dev.servers.process import wait_until
from dev.servers.rabbitmq import RabbitMQ
from dnsworker import queues
from dnsworker.broker import Publisher
from dnsworker.cli import cli
from dnsworker.messages import Message

ARGUMENTS = {"zone": "example.org.", "name": "www", "type": "TXT", "data": ['"hunter2"']}


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def link(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The test's own connection, with all queues declared."""
    monkeypatch.setenv("DNSWORKER_BROKER_URL", broker_url)
    with kombu.Connection(broker_url, connect_timeout=5, transport_options={"confirm_publish": True}) as link:
        for queue in (queues.intake_queue(), queues.dead_queue()):
            queue.bind(link.default_channel).declare()
        yield link


def submit(broker_url: str, operation: str, **more: Any) -> None:
    publisher = Publisher(broker_url)
    exchange, key = queues.SUBMIT.name, queues.INTAKE_KEY
    publisher.publish(Message("dnsworker.put_record", operation, ARGUMENTS | more, exchange, key), 5)
    publisher.close()


def take(link: Any, queue: kombu.Queue) -> Any:
    """The next message in a queue; quorum queues show it a moment after it was confirmed."""
    found: list[Any] = []

    def look() -> bool:
        message = queue.bind(link.default_channel).get(no_ack=False)
        found.extend([message] if message is not None else [])
        return bool(found)

    wait_until(look, 30, f"a message in {queue.name}")
    return found[0]


def die(link: Any, broker_url: str, *operations: str, dead_before: int = 0) -> None:
    """What a worker does with messages that it can't handle."""
    for operation in operations:
        submit(broker_url, operation)
        take(link, queues.intake_queue()).reject()
    wait_for_dead(dead_before + len(operations))


def dead() -> list[dict[str, Any]]:
    return list(json.loads(invoke("queues", "dead", "--json").stdout))


def wait_for_dead(count: int) -> None:
    wait_until(lambda: len(dead()) == count, 30, f"{count} dead letters")


def test_looking_leaves_them_where_they_are_and_shows_no_data(link: Any, broker_url: str) -> None:
    assert invoke("queues", "dead").stdout == "no dead letters\n"
    die(link, broker_url, "op-1", "op-2")
    for _ in range(2):
        found = dead()
        assert [one["id"] for one in found] == ["op-1", "op-2"]
    assert {key: found[0][key] for key in ("task", "zone", "queue", "reason", "deaths")} == {
        "task": "dnsworker.put_record", "zone": "example.org.", "queue": "dns.intake", "reason": "rejected",
        "deaths": 1,
    }  # fmt: skip
    assert found[0]["died_at"] is not None
    told = invoke("queues", "dead").stdout
    assert "op-2" in told
    assert "hunter2" not in told + json.dumps(found)
    assert len(json.loads(invoke("queues", "dead", "--limit", "1", "--json").stdout)) == 1


def test_one_is_sent_back_as_it_was_and_the_others_stay(
    link: Any, broker_url: str, rabbitmq: RabbitMQ
) -> None:
    die(link, broker_url, "op-1", "op-2", "op-3")
    told = invoke("queues", "requeue", "op-2")
    assert (told.exit_code, told.stdout) == (0, "op-2  sent back\n"), told.output
    message = take(link, queues.intake_queue())
    assert message.headers["id"] == "op-2"
    assert message.payload[1] == ARGUMENTS
    assert not any(name.startswith("x-death") for name in message.headers)
    assert message.properties["user_id"] == link.userid
    assert message.properties["delivery_mode"] == 2
    assert [one["id"] for one in dead()] == ["op-1", "op-3"]
    told = invoke("queues", "requeue", "op-2")
    assert (told.exit_code, told.stderr) == (1, "no dead letter op-2\n")


def test_all_are_sent_back_and_one_that_dies_again_comes_again(link: Any, broker_url: str) -> None:
    die(link, broker_url, "op-1", "op-2")
    assert invoke("queues", "requeue", "--all").exit_code == 0
    take(link, queues.intake_queue()).reject()
    assert take(link, queues.intake_queue()).headers["id"] == "op-2"
    wait_for_dead(1)


def test_what_the_queue_does_not_take_stays(link: Any, broker_url: str) -> None:
    die(link, broker_url, "op-1")
    queues.intake_queue().bind(link.default_channel).delete()
    told = invoke("queues", "requeue", "--all")
    assert (told.exit_code, len(told.stderr.splitlines())) == (1, 1)
    assert "no queue takes op-1" in told.stderr
    assert [one["id"] for one in dead()] == ["op-1"]


def test_a_senders_word_for_where_it_came_from_is_not_believed(link: Any, broker_url: str) -> None:
    forged = [{"queue": "dns.sweep", "exchange": "dns.internal", "routing-keys": ["sweep"], "reason": "x"}]
    headers = {"task": "dnsworker.deliver", "id": "forged", "x-death": forged}
    producer = link.Producer(auto_declare=False)
    producer.publish([[], {}, {}], exchange=queues.DEAD.name, routing_key=queues.DEAD_KEY, headers=headers)
    producer.publish("no task", exchange=queues.DEAD.name, routing_key=queues.DEAD_KEY)
    wait_for_dead(2)
    told = invoke("queues", "requeue", "--all", "--json")
    assert told.exit_code == 1
    first, second = json.loads(told.stdout)["refusals"]
    assert first == "forged came from dns.sweep, not from dns.intake: it stays"
    assert "was put there by hand, not from dns.intake: it stays" in second
    assert second.startswith("sha256-")
    assert len(dead()) == 2


def test_one_that_nobody_can_unpack_keeps_nobody_from_the_others(link: Any, broker_url: str) -> None:
    producer = link.Producer(auto_declare=False)
    headers = {"task": "dnsworker.put_record", "id": "packed", "compression": "application/x-gzip"}
    exchange, key = queues.SUBMIT.name, queues.INTAKE_KEY
    producer.publish(b"not gzip", exchange=exchange, routing_key=key, headers=headers)
    intake = queues.intake_queue().bind(link.default_channel)
    wait_until(lambda: intake.queue_declare(passive=True).message_count == 1, 30, "the message")
    raw = link.default_channel.basic_get(intake.name, no_ack=False)
    link.default_channel.basic_reject(raw.delivery_tag, requeue=False)
    wait_for_dead(1)
    die(link, broker_url, "op-1", dead_before=1)
    assert {one["id"] for one in dead()} == {"packed", "op-1"}
    told = invoke("queues", "requeue", "--all")
    assert "packed is compressed" in told.stderr
    assert invoke("queues", "discard", "packed", "--yes").exit_code == 0
    assert dead() == []


def test_one_is_thrown_away_only_when_it_is_meant(link: Any, broker_url: str) -> None:
    die(link, broker_url, "op-1", "op-2")
    assert invoke("queues", "discard", "op-1").exit_code == 2
    assert len(dead()) == 2
    assert invoke("queues", "discard", "op-1", "--yes").stdout == "op-1  discarded\n"
    assert [one["id"] for one in dead()] == ["op-2"]
