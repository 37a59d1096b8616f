"""The command line against RabbitMQ and PostgreSQL: queues, dead letters, and brokers that aren't there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import kombu
import pytest
from click.testing import CliRunner, Result

from dnsworker import queues
from dnsworker.cli import cli
from dnsworker.operations import Outcome
from dnsworker.runtime import Runtime
from dnsworker.settings import load_settings

Run = Callable[..., Result]

POOLS = """\
- name: default
  ns_records: [{hostname: ns1.example.net.}]
  targets: [{name: served, type: builtin}]
"""


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def system(broker_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DNSWORKER_BROKER_URL", broker_url)
    monkeypatch.setenv("DNSWORKER_DATABASE_URL", database_url)
    monkeypatch.delenv("DNSWORKER_RESULT_URL", raising=False)
    (tmp_path / "pools.yaml").write_text(POOLS, encoding="utf-8")
    assert invoke("pool", "apply", str(tmp_path / "pools.yaml")).exit_code == 0
    return invoke


class StubSignals:
    """Nobody is woken and nobody is told."""

    def wake_delivery(self, target: str) -> None: ...
    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None: ...


def take_in(operation: str) -> None:
    """What a worker does with the submission that is in the queue."""
    runtime = Runtime(load_settings(), StubSignals())
    runtime.start()
    try:
        arguments = {"zone": "example.org.", "email": "a@example.org"}
        runtime.receive(operation, "create_zone", arguments, None)
    finally:
        runtime.stop()


def test_declaring_makes_every_queue_and_is_safe_to_repeat(system: Run, broker_url: str) -> None:
    names = ["dns.intake", "dns.query", "dns.sweep", "dns.deliver.served", "dns.dead"]
    for _ in range(2):
        result = system("queues", "declare")
        assert (result.exit_code, result.stdout.split()) == (0, names), result.output
    with kombu.Connection(broker_url, connect_timeout=5) as connection:
        for name in names:
            kombu.Queue(name).bind(connection.default_channel).queue_declare(passive=True)


def test_status_counts_dead_letters(system: Run, broker_url: str) -> None:
    told = json.loads(system("status", "--json").stdout)
    assert told["dead_letters"] is None
    assert "run `dnsworker queues declare`" in told["broker_error"]
    system("queues", "declare")
    assert json.loads(system("status", "--json").stdout)["dead_letters"] == 0
    with kombu.Connection(broker_url, connect_timeout=5, transport_options={"confirm_publish": True}) as link:
        link.Producer().publish("x", exchange=queues.DEAD.name, routing_key=queues.DEAD_KEY)
    assert "dead letters 1" in system("status").stdout


def test_status_works_without_the_broker_and_shows_no_password(
    system: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSWORKER_BROKER_URL", "amqp://dns:hunter2@127.0.0.1:1//")
    result = system("status")
    assert (result.exit_code, "not reachable" in result.stdout) == (0, True), result.output
    assert "hunter2" not in result.output
    declared = system("queues", "declare")
    assert (declared.exit_code, len(declared.stderr.splitlines())) == (1, 1)
    assert "can't reach amqp://dns:********@127.0.0.1:1//" in declared.stderr


def test_a_change_without_a_broker_is_one_line(system: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSWORKER_BROKER_URL", "amqp://dns:hunter2@127.0.0.1:1//")
    result = system("zone", "delete", "example.org")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "SubmissionFailed" in result.stderr
    assert "hunter2" not in result.output


def test_a_change_before_any_worker_was_started_says_so(system: Run) -> None:
    result = system("zone", "delete", "example.org")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "no dnsworker has been started on this broker" in result.stderr


def test_a_broker_url_that_is_none_is_one_line(system: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSWORKER_BROKER_URL", "rabbit://u:hunter2@x")
    for arguments in (["zone", "delete", "example.org"], ["queues", "declare"], ["status"]):
        result = system(*arguments)
        assert len(result.stderr.splitlines()) == (0 if arguments == ["status"] else 1), result.output
        assert "hunter2" not in result.output


def test_an_operation_that_is_tried_again_wakes_its_targets(
    system: Run, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system("queues", "declare")
    submitted = system("zone", "create", "example.org", "--email", "a@example.org", "--no-wait", "--json")
    operation = json.loads(submitted.stdout)["id"]
    take_in(operation)
    wake_ups = kombu.Queue("dns.deliver.served")
    with kombu.Connection(broker_url, connect_timeout=5) as connection:
        queue = wake_ups.bind(connection.default_channel)
        assert queue.get() is None
        assert "due now at served" in system("operation", "retry", operation).stdout
        message = queue.get(no_ack=True)
        assert message is not None
        assert message.payload[1] == {"target": "served"}
    monkeypatch.setenv("DNSWORKER_BROKER_URL", "amqp://127.0.0.1:1//")
    told = system("operation", "retry", operation)
    assert (told.exit_code, "the next sweep takes it up" in told.stderr) == (0, True)
