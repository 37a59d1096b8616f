"""No password or key in a log, a task's arguments, Flower, an error or the command line's output.

With everything that says much: DEBUG logs, wrong keys, servers that are away, messages that can't be read.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import amqp
import pytest
from kombu import Connection

from dev.pool import pool_of, to_yaml
from dev.program import ROOT
from dev.servers import Bind, PowerDNS, Redis
from dev.stack import Stack
from dnsworker import Client
from dnsworker.pools import build_options, load_pools
from dnsworker.settings import Settings
from tests.acceptance.comparison import client_of, wait_for
from tests.acceptance.leaks import assert_no_leak, secrets_of

EMAIL = "hostmaster@example.org"


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis(settings="user worker on >the-password-of-redis ~* &* +@all\n") as server:
        yield server


@pytest.fixture
def talkative(bind: Bind, powerdns: PowerDNS, redis: Redis, start_stack: Callable[..., Stack]) -> Stack:
    """A system at DEBUG with a password on everything, and a pool each of whose keys is wrong somehow."""
    right = pool_of({"bind": bind, "powerdns": powerdns}, name="right")
    wrong = pool_of({"refused": powerdns, "unsigned": bind}, name="wrong")
    wrong["targets"][0]["options"]["api_key"] = "wrong-key-of-the-api"
    wrong["targets"][1]["options"]["tsig_key_secret"] = "d3JvbmcgdHNpZyBrZXkgZm9yIGJpbmQgdG8gcmVmdXNl"
    away = pool_of({"away": powerdns}, name="away")
    away["targets"][0]["options"] |= {"api_url": "http://127.0.0.1:1", "api_key": "key-of-one-that-is-away"}
    url = redis.url.replace("redis://", "redis://worker:the-password-of-redis@")
    return start_stack(
        bind=bind,
        powerdns=powerdns,
        redis=redis,
        flower=True,
        pool_yaml=to_yaml(right, wrong, away),
        settings={
            "DNSWORKER_LOG_LEVEL": "DEBUG",
            "DNSWORKER_RESULT_URL": url,
            "DNSWORKER_REDIS_URL": url,
            "DNSWORKER_RETRY_CAP_S": "1",
        },
    )


def _wait_until_flower_is_told(stack: Stack, client: Client) -> None:
    """Flower has the workers tell of tasks every few seconds, from its start on."""
    client.create_zone("seen.test.", email=EMAIL, pool="right").wait(60)

    def is_told() -> bool:
        change = client.put_record("seen.test.", "www", "A", ["192.0.2.1"])
        change.wait(60)
        return change.id in _flower(stack, "api/tasks?limit=1000")

    wait_for(is_told, "Flower to be told of an operation", 60)


def test_no_secret_is_shown_anywhere(talkative: Stack) -> None:
    stack = talkative
    with client_of(stack) as client:
        _wait_until_flower_is_told(stack, client)
        done = client.create_zone("leak.test.", email=EMAIL, pool="right")
        done.wait(60)
        client.put_record("leak.test.", "www", "A", ["192.0.2.1"]).wait(60)
        failing = [client.create_zone(f"{pool}.test.", email=EMAIL, pool=pool) for pool in ("wrong", "away")]
        for one in failing:
            wait_for(lambda one=one: all(t.last_error for t in one.outcome().targets), "a failure each", 60)  # type: ignore[misc]
    with Connection(stack.env["DNSWORKER_BROKER_URL"]) as connection:
        connection.default_channel.basic_publish(amqp.Message("not a task"), "dns.submit", "intake")
    wait_for(lambda: "dead letter" in stack.logs(10_000), "the dead letter", 60)
    stack.worker(1).kill()
    stack.worker(1).start()
    commands = [
        "status", "pool show", "pool show --json", "pool check", "target show --json", "operation list",
        "zone show wrong.test.", "zone show away.test. --json",
        *(f"operation show {one.id}" for one in failing),
    ]  # fmt: skip
    said = {words: _run(stack, *words.split()) for words in commands}
    assert "wrong.test." in said["zone show wrong.test."]
    tasks = _flower(stack, "api/tasks?limit=1000")
    assert done.id in tasks
    said |= {"Flower": tasks, "Flower's workers": _flower(stack, "api/workers")}
    said |= {path.name: path.read_text(errors="replace") for path in stack.folder.glob("*.log")}
    assert "DEBUG" in said["worker-1.log"]
    said["settings"] = _shown(stack)
    assert len(secrets_of(stack)) >= 3 * 6
    assert_no_leak(stack, **said)
    for text in said.values():
        for secret in (
            "wrong-key-of-the-api",
            "d3JvbmcgdHNpZyBrZXk",
            "key-of-one-that-is-away",
            "the-password-of-redis",
        ):
            assert secret not in text


def _run(stack: Stack, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dnsworker", *words],
        cwd=ROOT, env=stack.process_env(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def _flower(stack: Stack, path: str) -> str:
    login, _, address = stack.flower_url.removeprefix("http://").partition("@")
    credentials = base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(
        f"http://{address}{path}", headers={"Authorization": f"Basic {credentials}"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.dumps(json.load(response))


def _shown(stack: Stack) -> str:
    """`repr` and `str` of what holds secrets in a worker."""
    fields: dict[str, Any] = {
        name.removeprefix("DNSWORKER_").lower(): value
        for name, value in stack.env.items()
        if name.startswith("DNSWORKER_")
    }
    shown = [Settings(**fields)]
    for pool in load_pools(stack.folder / "pools.yaml"):
        shown += [pool, *pool.targets, *map(build_options, pool.targets)]  # type: ignore[list-item]
    return "\n".join(f"{one!r} {one}" for one in shown)
