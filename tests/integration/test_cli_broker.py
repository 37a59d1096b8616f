"""The command line against RabbitMQ and PostgreSQL: queues, dead letters, and brokers that aren't there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import kombu
import pytest
from click.testing import CliRunner, Result

from dnsworker import queues
from dnsworker.cli import cli

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
