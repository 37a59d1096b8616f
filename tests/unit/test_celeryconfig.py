"""Celery's settings, and the queues and routes that they are made of."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from celery import Celery

import celeryconfig
from dnsworker import queues
from dnsworker.app import make_app
from dnsworker.errors import ConfigError
from dnsworker.settings import Settings

SETTINGS = Settings(broker_url="amqp://user:secret@broker.example//", result_url="redis://redis.example/0")


def test_nothing_is_pickled_and_nothing_acknowledged_early() -> None:
    conf = make_app(SETTINGS).conf
    assert conf.accept_content == conf.result_accept_content == ["json"]
    assert conf.task_serializer == conf.result_serializer == "json"
    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True
    assert conf.task_acks_on_timeout is False
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_transport_options == {"confirm_publish": True}


def test_no_queue_is_made_by_a_slip_of_the_pen() -> None:
    app = make_app(SETTINGS)
    assert app.conf.task_create_missing_queues is False
    assert set(app.amqp.queues) == {"dns.intake", "dns.query", "dns.sweep"}


def test_every_task_has_its_way() -> None:
    router = make_app(SETTINGS).amqp.router
    for task, exchange, key in (
        ("dnsworker.put_record", "dns.submit", "intake"),
        ("dnsworker.show_zone", "dns.submit", "query"),
        ("dnsworker.sweep", "dns.internal", "sweep"),
        ("dnsworker.intake", "dns.internal", "sweep"),
    ):
        route = router.route({}, task, (), {})
        assert (route["exchange"], route["routing_key"]) == (exchange, key)


def test_the_tasks_are_those_of_the_design() -> None:
    app = make_app(SETTINGS)
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if name.startswith("dnsworker.")}
    internal = {queues.DELIVER_TASK, queues.INTAKE_TASK, queues.SWEEP_TASK}
    assert ours == queues.SUBMITTABLE | queues.ASKABLE | internal
    assert all(app.tasks[name].ignore_result for name in queues.SUBMITTABLE | internal)
    assert not any(app.tasks[name].ignore_result for name in queues.ASKABLE)


def test_it_is_a_configuration_module_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSWORKER_BROKER_URL", "amqp://broker.example//")
    module = importlib.reload(celeryconfig)
    app = Celery("flower", set_as_current=False)
    app.config_from_object(module)
    assert app.conf.task_default_queue == "dns.intake"
    assert app.conf.broker_url == "amqp://broker.example//"
    module._from_environment.cache_clear()


def test_the_embedded_system_uses_its_folder_and_no_results(tmp_path: Path) -> None:
    conf = make_app(Settings(data_dir=tmp_path)).conf
    assert conf.broker_transport_options["polling_interval"] == 0.02
    assert conf.broker_transport_options["data_folder_in"].startswith(str(tmp_path))
    assert conf.result_backend is None


def test_a_worker_takes_all_queues_or_those_it_is_told() -> None:
    def names(wanted: list[str] | None) -> list[str]:
        return [queue.name for queue in queues.select_queues(wanted, ["a", "b"])]

    everything = ["dns.intake", "dns.query", "dns.sweep", "dns.deliver.a", "dns.deliver.b"]
    assert names(None) == names([]) == everything
    assert names(["dns.query", "dns.intake"]) == ["dns.query", "dns.intake"]
    assert names(["dns.deliver"]) == names(["dns.deliver.*"]) == ["dns.deliver.a", "dns.deliver.b"]
    assert names(["dns.deliver.later", "dns.deliver.later"]) == ["dns.deliver.later"]
    with pytest.raises(ConfigError, match=r"dns\.deliver\.<target>"):
        names(["dns.dead"])


def test_what_is_promised_is_in_quorum_queues_that_keep_what_they_cannot_deliver() -> None:
    for queue in (queues.intake_queue(), queues.dead_queue()):
        assert queue.queue_arguments["x-queue-type"] == "quorum"
        assert queue.queue_arguments["x-overflow"] == "reject-publish"
    arguments = queues.intake_queue().queue_arguments
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-delivery-limit"] >= 20
