"""The examples of the README, run as a service would run them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dev.stack import Stack
from dnsworker import Client
from tests.acceptance.comparison import answers, assert_all_agree, texts, wait_for
from tests.documented import blocks_in

ZONE = "example.org."
CLIENT, CELERY = blocks_in("README.md", "From Python")
BROKER = re.compile(r"amqp://[^\"]+")


@pytest.fixture
def example_zone(stack: Stack, client: Client) -> str:
    """The zone of the examples, as the first of them leaves it."""
    if texts(stack.bind, ZONE, "SOA"):
        client.delete_zone(ZONE).wait(60)
    assert _run(stack, CLIENT) == "ACTIVE\n"
    return ZONE


def test_the_python_example_does_what_it_says(stack: Stack, example_zone: str) -> None:
    for server in (stack.bind, stack.powerdns):
        assert answers(server, example_zone, "MX")
        assert texts(server, f"www.{example_zone}", "A") == ["192.0.2.1", "192.0.2.2"]
        assert texts(server, f"mail.{example_zone}", "A") == ["192.0.2.25"]
    assert_all_agree(stack, example_zone)


def test_a_service_with_celery_alone_submits_as_a_user_who_may_only_write(
    stack: Stack, client: Client, example_zone: str
) -> None:
    vhost = stack.env["DNSWORKER_BROKER_URL"].rpartition("/")[2]
    url = stack.rabbitmq.add_user("shop", "secret", write=r"^dns\.submit$", vhost=vhost)
    assert _run(stack, BROKER.sub(url, CELERY)) == ""
    both = (stack.bind, stack.powerdns)
    wait_for(
        lambda: all(texts(server, f"www.{example_zone}", "A") == ["192.0.2.3"] for server in both),
        "the record",
    )
    assert_all_agree(stack, example_zone)


def test_a_user_who_may_only_write_submits_through_the_client(stack: Stack, example_zone: str) -> None:
    vhost = stack.env["DNSWORKER_BROKER_URL"].rpartition("/")[2]
    url = stack.rabbitmq.add_user("submitter2", "secret", write=r"^dns\.submit$", vhost=vhost)
    with Client(url, stack.env["DNSWORKER_RESULT_URL"]) as submitter:
        submitter.put_record(example_zone, "write-only", "A", ["192.0.2.4"]).wait(60)
    assert texts(stack.bind, f"write-only.{example_zone}", "A") == ["192.0.2.4"]


def _run(stack: Stack, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=stack.process_env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout
