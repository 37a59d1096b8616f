"""Permissions with real RabbitMQ users and a real worker: who the broker vouches for decides."""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import amqp
import pytest
from celery import Celery

from dev.program import ROOT
from dev.servers import RabbitMQ, Redis
from dev.servers.ports import ADDRESS, claim_port, release_port
from dev.servers.process import Process, wait_until
from dnsworker import Change, Client, OperationFailed, SubmissionFailed, database
from dnsworker.errors import Forbidden, OperationNotFound
from dnsworker.messages import Message
from dnsworker.permissions.file import LOOK_EVERY_S
from dnsworker.pools import Pool
from dnsworker.store import pools
from tasks.batches import LONG
from tests.schema import have_schema

SUBMITTER = {"configure": "^$", "write": r"^dns\.submit$", "read": "^$"}
RULES = """\
default: closed
users:
  acme:
    - {may: [put, delete], zones: [example.org, "*.example.org"], names: _acme-challenge.*, types: TXT}
  shop:
    - {may: all, zones: [shop.example, bücher.example]}
  team:
    - {may: [all, force], zones: "*"}
  impostor:
"""


@dataclass
class System:
    rabbitmq: RabbitMQ
    vhost: str
    result_url: str
    rules: Path
    worker: Process
    #: Of the worker.
    env: dict[str, str]

    def url(self, user: str) -> str:
        return self.rabbitmq.url_for(user, user, self.vhost)

    def client(self, user: str, **options: Any) -> Client:
        return Client(self.url(user), self.result_url, **options)

    def celery(self, user: str) -> Celery:
        """As docs/submitting/celery.md has it."""
        app = Celery(user, broker=self.url(user), backend=self.result_url, set_as_current=False)
        app.conf.task_routes = {"dnsworker.*": {"exchange": "dns.submit", "routing_key": "intake"}}
        app.conf.task_create_missing_queues = False
        app.conf.broker_transport_options = {"confirm_publish": True}
        return app


@pytest.fixture(scope="module")
def system(rabbitmq: RabbitMQ, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Three submitters, and a worker that writes zone files."""
    folder = tmp_path_factory.mktemp("system")
    rules = folder / "permissions.yaml"
    rules.write_text(RULES, encoding="utf-8")
    url = f"sqlite:///{folder / 'dnsworker.db'}"
    have_schema(url)
    engine = database.connect(url)
    (folder / "zones").mkdir()
    target = {"name": "files", "type": "zonefile", "options": {"folder": str(folder / "zones")}}
    document = {"name": "default", "ns_records": [{"hostname": "ns1.example.net."}], "targets": [target]}
    with engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(document)])
    engine.dispose()
    vhost = "permissions"
    broker_url = rabbitmq.add_vhost(vhost)
    for user in ("acme", "shop", "team", "impostor"):
        rabbitmq.add_user(user, user, vhost=vhost, **SUBMITTER)
    log_path = folder / "worker.log"
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DNSWORKER_BROKER_URL": broker_url,
        "DNSWORKER_RESULT_URL": redis.url,
        "DNSWORKER_DATABASE_URL": url,
        "DNSWORKER_PERMISSIONS": str(rules),
        "DNSWORKER_CONCURRENCY": "8",
    }
    worker = Process([sys.executable, "-m", "dnsworker", "worker"], log_path=log_path, env=env)
    wait_until(lambda: "ready." in log_path.read_text() or not worker.is_running, 60, "the worker")
    assert worker.is_running, log_path.read_text()
    found = System(rabbitmq, vhost, redis.url, rules, worker, env)
    with found.client("team") as team:
        for zone in ("example.org", "shop.example", "evil-example.org"):
            assert team.create_zone(zone, email="a@example.net").wait(60).submitter == "team"
    yield found
    worker.stop(5)
    print(worker.tail(80))
    rabbitmq.remove_vhost(vhost)


def refusal(submit: Callable[[], Any]) -> str:
    with pytest.raises(OperationFailed) as caught:
        submit().wait(60)
    assert caught.value.code == "Forbidden"
    assert caught.value.outcome.status == "ERROR"
    return caught.value.message


def test_each_does_what_it_may_and_no_more(system: System) -> None:
    with system.client("acme") as acme, system.client("shop") as shop:
        for name in ("_acme-challenge", "_ACME-challenge.www", "_acme-challenge.bücher"):
            assert acme.put_record("Example.ORG", name, "TXT", ["x"]).wait(60).status == "ACTIVE"
        acme.delete_record("example.org", "_acme-challenge", "TXT").wait(60)
        for zone, name, type_, data in [
            ("example.org", "www", "TXT", "x"),
            ("example.org", "@", "TXT", "x"),
            ("example.org", "_acme-challenge", "A", "192.0.2.1"),
            ("example.org", "*", "TXT", "x"),
            ("evil-example.org", "_acme-challenge", "TXT", "x"),
            ("shop.example", "_acme-challenge", "TXT", "x"),
        ]:
            assert "no rule allows it" in refusal(lambda: acme.put_record(zone, name, type_, [data]))  # noqa: B023
        assert "force" in refusal(
            lambda: acme.put_record("example.org", "_acme-challenge", "TXT", ["x"], force=True)
        )
        assert "shop may not" in refusal(lambda: shop.put_record("example.org", "www", "A", ["192.0.2.1"]))
        assert "shop may not" in refusal(lambda: shop.delete_zone("example.org"))
        shop.create_zone("xn--bcher-kva.example", email="a@example.net").wait(60)
        shop.put_record("BÜCHER.example", "@", "A", ["192.0.2.1"]).wait(60)


def test_a_change_with_one_forbidden_part_is_refused_whole(system: System) -> None:
    with system.client("acme") as acme, system.client("team") as team:
        changes = [
            Change.put("_acme-challenge.part", "TXT", ["x"]),
            Change.put("www", "A", ["192.0.2.66"]),
        ]
        assert "put A at www.example.org." in refusal(lambda: acme.change_zone("example.org", changes))
        assert team.list_records("example.org", name="_acme-challenge.part") == []
        acme.change_zone("example.org", changes[:1]).wait(60)


def test_questions_tell_nobody_what_they_may_not_read(system: System) -> None:
    with system.client("acme") as acme, system.client("shop") as shop:
        operation = acme.put_record("example.org", "_acme-challenge.mine", "TXT", ["x"])
        assert operation.wait(60).submitter == "acme"
        assert operation.status() == "ACTIVE"
        with pytest.raises(OperationNotFound):
            shop.show_operation(operation.id)
        for zone in ("example.org", "absent.example"):
            for ask in (shop.show_zone, shop.list_records, shop.export_zone):
                with pytest.raises(Forbidden, match=f"shop may not read {zone}"):
                    ask(zone)
        assert shop.show_zone("shop.example")["name"] == "shop.example."


def test_a_forged_user_is_refused_by_the_broker_and_said_in_one_line(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Message.properties
    monkeypatch.setattr(Message, "properties", lambda self, user: honest(self, "team"))
    with system.client("impostor") as client, pytest.raises(SubmissionFailed) as caught:
        client.delete_zone("example.org")
    assert not caught.value.may_have_arrived
    assert "\n" not in str(caught.value)
    assert str(caught.value) == (
        "the broker refuses the message: its user_id is 'team', and the user of the connection is 'impostor'"
    )
    app = system.celery("impostor")
    with pytest.raises(amqp.PreconditionFailed, match="user_id property set to 'team'"):
        app.send_task(
            "dnsworker.delete_zone", kwargs={"zone": "example.org"}, user_id="team", ignore_result=True
        )
    with system.client("team") as team:
        monkeypatch.undo()
        assert team.show_zone("example.org")["status"] == "ACTIVE"


def test_plain_celery_says_who_it_is_or_is_nobody(system: System) -> None:
    record = {"zone": "example.org", "name": "_acme-challenge.celery", "type": "TXT", "data": ["x"]}
    app = system.celery("acme")

    def send(**properties: Any) -> Any:
        result = app.send_task("dnsworker.put_record", kwargs=record, ignore_result=True, **properties)
        return app.AsyncResult(result.id).get(timeout=60)

    assert send(user_id="acme")["submitter"] == "acme"
    with pytest.raises(Exception, match="nobody may not put TXT") as caught:
        send()
    assert caught.value.args[0] == "Forbidden"
    assert "set it to the user of the connection" in caught.value.args[1]
    # Headers are whatever the sender likes, on each of the ways that a message may take in a worker.
    claims = {"headers": {"user_id": "team", "properties": {"user_id": "team"}}}
    with pytest.raises(Exception, match="nobody may not put TXT"):
        send(**claims)
    record["data"] = [f'"{number} {"x" * 200}"' for number in range(LONG // 200)]
    with pytest.raises(Exception, match="nobody may not put TXT"):
        send(**claims)
    assert send(user_id="acme")["submitter"] == "acme"
    with pytest.raises(Exception, match="nobody may not delete_zone"):
        app.AsyncResult(
            app.send_task(
                "dnsworker.delete_zone", kwargs={"zone": "example.org"}, ignore_result=True, **claims
            ).id
        ).get(timeout=60)
    question = {"exchange": "dns.submit", "routing_key": "query"}
    for properties, reason in ((claims, "nobody may not read"), ({"user_id": "acme"}, "acme may not read")):
        asked = app.send_task("dnsworker.show_zone", kwargs={"zone": "example.org"}, **question, **properties)
        with pytest.raises(Exception, match=reason):
            asked.get(timeout=60)


def test_a_user_who_may_impersonate_is_whoever_it_claims_to_be(system: System) -> None:
    """Why docs/permissions.md says to give that tag to nobody."""
    system.rabbitmq._define(users=[{"name": "impostor", "password": "impostor", "tags": "impersonator"}])
    record = {"zone": "example.org", "name": "impersonated", "type": "TXT", "data": ["x"]}
    app = system.celery("impostor")
    result = app.send_task("dnsworker.put_record", kwargs=record, ignore_result=True, user_id="team")
    assert app.AsyncResult(result.id).get(timeout=60)["submitter"] == "team"


@pytest.fixture
def flower(system: System, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Calls Flower's API, by default with its password."""
    port, log_path = claim_port(), tmp_path / "flower.log"
    options = (f"--address={ADDRESS}", f"--port={port}", f"--db={tmp_path / 'flower.db'}")
    process = Process(
        [sys.executable, "-m", "celery", "-A", "dnsworker.app", "flower", *options],
        log_path=log_path,
        env={**system.env, "FLOWER_BASIC_AUTH": "viewer:pw"},
    )
    wait_until(lambda: "Visit me" in log_path.read_text() or not process.is_running, 60, "Flower")
    assert process.is_running, log_path.read_text()

    def call(path: str, body: Any = None, password: str = "pw") -> Any:
        login = base64.b64encode(f"viewer:{password}".encode()).decode()
        request = urllib.request.Request(
            f"http://{ADDRESS}:{port}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    yield call
    process.stop(5)
    release_port(port)


def test_what_is_sent_from_flower_is_nobodys_and_it_shows_no_data(
    system: System, flower: Callable[..., Any]
) -> None:
    record = {"zone": "example.org", "name": "_acme-challenge", "type": "TXT", "data": ["of-nobody-else"]}
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        flower("task/send-task/dnsworker.put_record", {"kwargs": record}, password="guessed")
    caught.value.close()
    with system.client("team") as team:

        def is_seen() -> bool:
            operation = team.put_record(**record)
            operation.wait(60)
            found = flower("tasks?limit=1000").get(operation.id, {})
            return found.get("kwargs") == "example.org. _acme-challenge.example.org. TXT"

        # Flower has the workers tell of tasks every few seconds, from its start on.
        wait_until(is_seen, 60, "Flower to see an operation")
    sent = flower("task/send-task/dnsworker.put_record", {"kwargs": record})["task-id"]
    with pytest.raises(Exception, match="nobody may not put TXT"):
        system.celery("team").AsyncResult(sent).get(timeout=60)

    def told() -> str:
        return str(flower("tasks?limit=1000").get(sent, {}).get("exception"))

    wait_until(lambda: "nobody may not put TXT at _acme-challenge" in told(), 60, "Flower to see the refusal")
    shown = flower("tasks?limit=1000")
    assert "of-nobody-else" not in json.dumps(shown)


def test_a_changed_file_is_taken_up_by_a_worker_that_runs(system: System) -> None:
    system.rabbitmq.add_user("late", "late", vhost=system.vhost, **SUBMITTER)

    def put(client: Client) -> Any:
        return client.put_record("example.org", "late", "A", ["192.0.2.1"])

    def is_allowed() -> bool:
        with system.client("late") as late:
            try:
                return put(late).wait(60).status == "ACTIVE"
            except OperationFailed:
                return False

    with system.client("late") as late:
        assert "the user isn't named" in refusal(lambda: put(late))
    part = system.rules.with_suffix(".part")
    part.write_text(RULES + '  late:\n    - {may: put, zones: "*"}\n', encoding="utf-8")
    os.replace(part, system.rules)
    wait_until(is_allowed, LOOK_EVERY_S + 30, "the rules to be taken up")
