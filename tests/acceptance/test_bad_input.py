"""What submitters get wrong, and messages that aren't ours: a clear end for each; the rest is untouched."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import amqp
import pytest
from celery import Celery

from dev.servers import ServerError
from dev.stack import Stack
from dnsworker import Client, OperationFailed
from tests.acceptance.comparison import serial, texts, wait_for
from tests.acceptance.conftest import rows

A = {"type": "A", "data": ["192.0.2.9"]}
LARGE = ['"' + "x" * 250 + '"'] * 1
#: Task, arguments (those of the zone that exists if they name none) and the code and words of the refusal.
REFUSALS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "unknown zone": (
        "put_record",
        {"zone": "nowhere.test", "name": "www", **A},
        "ZoneNotFound",
        "nowhere.test.",
    ),
    "existing zone": ("create_zone", {"email": "a@example.org"}, "ZoneExists", "exists already"),
    "outside": ("put_record", {"name": "www.elsewhere.test.", **A}, "InvalidName|InvalidRecord", "elsewhere"),
    "cname beside": (
        "put_record",
        {"name": "there", "type": "CNAME", "data": ["x.example.org."]},
        "InvalidRecord",
        "CNAME",
    ),
    "beside cname": ("put_record", {"name": "alias", **A}, "InvalidRecord", "CNAME"),
    "negative TTL": ("put_record", {"name": "www", **A, "ttl": -1}, "InvalidRequest", "ttl"),
    "huge TTL": ("put_record", {"name": "www", **A, "ttl": 2**31}, "InvalidRequest", "ttl"),
    "TTL in words": ("put_record", {"name": "www", **A, "ttl": "1h"}, "InvalidRequest", "ttl"),
    "bad address": (
        "put_record",
        {"name": "www", "type": "A", "data": ["300.1.1.1"]},
        "InvalidRecord",
        "300.1",
    ),
    "no data": ("put_record", {"name": "www", "type": "A", "data": []}, "InvalidRecord", ""),
    "unknown type": ("put_record", {"name": "www", "type": "AAAAA", "data": ["x"]}, "InvalidRecord", "AAAAA"),
    "relative target": (
        "put_record",
        {"name": "www", "type": "CNAME", "data": ["example.org"]},
        "InvalidRecord",
        "dot",
    ),
    "unknown pool": ("put_record", {"pool": "other", "name": "www", **A}, "PoolNotFound", "other"),
    "ambiguous name": ("put_record", {"name": "www.{zone}", **A}, "InvalidName", "dot"),
    "too large": (
        "put_record",
        {"name": "www", "type": "TXT", "data": [f'"{number:04}{"x" * 246}"' for number in range(280)]},
        "InvalidRecord",
        "65",
    ),
    "missing argument": ("put_record", {"name": "www", "type": "A"}, "InvalidRequest", "data is missing"),
    "unknown argument": ("put_record", {"name": "www", **A, "tll": 5}, "InvalidRequest", "tll is not"),
    "wrong shape": ("put_record", {"name": ["www"], **A}, "InvalidRequest", "name"),
    "absent record": ("delete_record", {"name": "www", "type": "A"}, "RecordNotFound", "www"),
    "apex NS": ("delete_record", {"name": "@", "type": "NS"}, "UnsafeChange|InvalidRecord", "NS"),
    "no zone file": ("import_zone", {"text": "what is this", "force": True}, "InvalidZoneFile", "1"),
    "bad email": ("create_zone", {"zone": "new.test", "email": "nobody"}, "InvalidRecord", "nobody"),
}


@pytest.fixture
def busy_zone(client: Client, zone: str) -> str:
    """A zone with an A record and a CNAME."""
    client.put_record(zone, "there", "A", ["192.0.2.1"])
    client.put_record(zone, "alias", "CNAME", ["there." + zone]).wait(60)
    return zone


@pytest.fixture
def celery(stack: Stack) -> Iterator[Celery]:
    """A submitter that nothing is checked for before it sends."""
    app = Celery(broker=stack.env["DNSWORKER_BROKER_URL"], set_as_current=False)
    app.conf.task_routes = {"dnsworker.*": {"exchange": "dns.submit", "routing_key": "intake"}}
    app.conf.broker_transport_options = {"confirm_publish": True}
    yield app
    app.close()


def test_each_bad_request_ends_with_its_code_and_touches_nothing(
    stack: Stack, client: Client, celery: Celery, busy_zone: str
) -> None:
    before = serial(stack.bind, busy_zone)
    sent = {}
    for what, (task, arguments, _, _) in REFUSALS.items():
        texts_ = {
            key: value.format(zone=busy_zone.rstrip(".")) if isinstance(value, str) else value
            for key, value in arguments.items()
        }
        sent[what] = _send(celery, task, {"zone": busy_zone, **texts_})
    wrong = []
    for what, id_ in sent.items():
        _, _, code, words = REFUSALS[what]
        said = _refusal(client, id_)
        if said is None or said.code not in code.split("|") or words not in said.message:
            wrong.append(f"{what}: {said}, not {code} with {words!r}")
        elif "\n" in said.message or len(said.message) > 400:
            wrong.append(f"{what}: not one clear line: {said.message}")
    assert not wrong, "\n".join(wrong)
    assert serial(stack.bind, busy_zone) == before
    client.put_record(busy_zone, "www", "A", ["192.0.2.2"]).wait(60)


def test_an_operation_on_a_zone_that_is_being_deleted_is_refused(
    stack: Stack, client: Client, zone: str
) -> None:
    stack.powerdns.stop()
    deletion = client.delete_zone(zone)
    late = client.put_record(zone, "www", "A", ["192.0.2.1"])
    with pytest.raises(OperationFailed) as failed:
        late.wait(60)
    assert failed.value.code == "ZoneNotFound"
    assert deletion.outcome().status == "ACCEPTED", "PowerDNS has not deleted it yet"
    stack.powerdns.start()
    deletion.wait(60)


def test_messages_that_are_not_ours_end_in_dead_letters_and_the_worker_goes_on(
    stack: Stack, client: Client, celery: Celery, zone: str
) -> None:
    headers = {"task": "dnsworker.put_record", "id": str(uuid.uuid4())}
    body = json.dumps([[], {"zone": zone}, {}])
    strangers: list[tuple[str, dict[str, Any]]] = [
        ("{not json", headers),
        ("hello", {}),
        (json.dumps([[], {}, {}]), {**headers, "task": "os.system"}),
        (json.dumps([[], {"target": "bind"}, {}]), {**headers, "task": "dnsworker.deliver"}),
        (json.dumps({"zone": zone}), headers),
        (json.dumps([[], {"zone": zone}, {"callbacks": [{"task": "os.system"}]}]), headers),
        (body, {**headers, "id": "x" * 1000}),
        (body, {**headers, "eta": "2099-01-01T00:00:00"}),
    ]
    before = _dead(stack)
    for text, head in strangers:
        _publish(stack, text, head)
    _publish(stack, body, headers, content_type="application/x-python-serialize")
    wait_for(lambda: _dead(stack) == before + len(strangers) + 1, "all of them among the dead letters")
    assert stack.run_json("status")["dead_letters"] == before + len(strangers) + 1
    client.put_record(zone, "www", "A", ["192.0.2.2"]).wait(60)
    assert texts(stack.bind, f"www.{zone}", "A") == ["192.0.2.2"]


def test_positional_arguments_are_refused_with_a_word(client: Client, celery: Celery, zone: str) -> None:
    id_ = str(uuid.uuid4())
    celery.send_task("dnsworker.delete_zone", args=[zone], task_id=id_, ignore_result=True)
    said = _refusal(client, id_)
    assert said is not None
    assert said.code == "InvalidRequest"
    assert "keyword" in said.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("type: bind9", "type: bind10"), "bind10"),
        (("ns_records:", "treshold_percentage: 100\n  ns_records:"), "treshold_percentage"),
        (("api_url: ", "api_ulr: "), "api_"),
        (("port: ", "port: x"), "port"),
        (("ns_records:", "ns_records: ["), ""),
        (("target: powerdns", "target: elsewhere"), "elsewhere"),
    ],
    ids=["type", "key", "option", "port", "YAML", "reference"],
)
def test_a_malformed_pools_yaml_is_refused_with_line_and_reason_and_nothing_changes(
    stack: Stack, client: Client, zone: str, change: tuple[str, str], words: str
) -> None:
    good = (stack.folder / "pools.yaml").read_text()
    assert change[0] in good
    bad = stack.folder / "bad.yaml"
    bad.write_text(good.replace(*change))
    before = rows(stack, "SELECT name, version, document FROM pool"), stack.run_json("pool", "show")
    with pytest.raises(ServerError, match=r"bad\.yaml.* line \d+|bad\.yaml:\d+") as refused:
        stack.run("pool", "apply", str(bad))
    assert words in str(refused.value)
    assert "Traceback" not in str(refused.value)
    assert (rows(stack, "SELECT name, version, document FROM pool"), stack.run_json("pool", "show")) == before
    client.put_record(zone, "www", "A", ["192.0.2.2"]).wait(60)


def _send(celery: Celery, task: str, arguments: dict[str, Any]) -> str:
    id_ = str(uuid.uuid4())
    celery.send_task(f"dnsworker.{task}", kwargs=arguments, task_id=id_, ignore_result=True)
    return id_


def _refusal(client: Client, id_: str) -> OperationFailed | None:
    try:
        client.operation(id_).wait(60)
    except OperationFailed as exc:
        return exc
    return None


def _connection(stack: Stack) -> amqp.Connection:
    user, _, where = stack.env["DNSWORKER_BROKER_URL"].removeprefix("amqp://").partition("@")
    name, _, password = user.partition(":")
    host, _, vhost = where.partition("/")
    return amqp.Connection(host, userid=name, password=password, virtual_host=vhost)


def _publish(
    stack: Stack, body: str, headers: dict[str, Any], content_type: str = "application/json"
) -> None:
    with _connection(stack) as connection:
        message = amqp.Message(
            body, content_type=content_type, content_encoding="utf-8", application_headers=headers
        )
        channel = connection.channel()
        channel.basic_publish_confirm(message, exchange="dns.submit", routing_key="intake")


def _dead(stack: Stack) -> int:
    with _connection(stack) as connection:
        declared = connection.channel().queue_declare("dns.dead", passive=True)
        assert declared is not None
        return int(declared[1])
