"""The stack as a person starts it: it comes up, says how to reach it, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

import dns.message
import dns.query
import pytest

from dev.program import ROOT
from dev.servers import PostgreSQL, RabbitMQ, tree
from dev.stack import Stack


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_stack_leaves_no_process_and_no_folder(number: signal.Signals, tmp_path: Path) -> None:
    settings = tmp_path / "stack.env"
    parent = subprocess.Popen(
        [sys.executable, "-m", "dev.stack", "--only-servers", "--settings", settings],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    with parent.stdout as output:
        said = _read_until(output, "Ctrl-C stops everything")
        family = tree.family(parent.pid)
        folder = Path(said.partition("logs")[2].split()[0])
        assert len(family) > 8, "BIND, PowerDNS, Redis, epmd, RabbitMQ and PostgreSQL with children"
        assert folder.is_dir()
        told = settings.read_text()
        assert stat.S_IMODE(settings.stat().st_mode) == 0o600, "there are passwords in it"
        parent.send_signal(number)
        output.read()
    assert parent.wait(60) == 0
    tree.wait_gone(family, timeout_s=1)
    assert not folder.exists()
    assert not settings.exists()
    for name in ("BROKER_URL", "DATABASE_URL", "RESULT_URL", "REDIS_URL", "POOLS"):
        assert f"export DNSWORKER_{name}=" in told


def test_flower_asks_for_a_password(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "dev.stack", "--settings", tmp_path / "stack.env"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    with parent.stdout as output:
        said = _read_until(output, "Ctrl-C stops everything")
        try:
            found = re.search(r"http://(dnsworker:[^@]+)@(\S+)", said)
            assert found
            with pytest.raises(urllib.error.HTTPError, match="401") as refused:
                urllib.request.urlopen(f"http://{found[2]}", timeout=10)
            refused.value.close()
        finally:
            parent.send_signal(signal.SIGTERM)
            output.read()
    assert parent.wait(60) == 0


def test_a_change_reaches_both_nameservers_although_a_worker_is_killed(
    start_stack: Callable[..., Stack],
) -> None:
    stack = start_stack(workers=2)
    stack.run("zone", "create", "example.org", "--email", "hostmaster@example.org")
    stack.worker(0).kill()
    stack.run("record", "put", "example.org", "www", "A", "192.0.2.1")
    stack.worker(0).start()
    for server in (stack.bind, stack.powerdns):
        query = dns.message.make_query("www.example.org.", "A")
        answer = dns.query.udp(query, server.address, port=server.port, timeout=5)
        assert "192.0.2.1" in answer.to_text(), type(server).__name__


def test_a_shared_server_keeps_nothing_of_a_closed_stack(
    start_stack: Callable[..., Stack], rabbitmq: RabbitMQ, postgresql: PostgreSQL
) -> None:
    def left() -> tuple[object, str]:
        return postgresql.execute("SELECT datname FROM pg_database"), rabbitmq.control("list_vhosts")

    before = left()
    stack = start_stack(workers=(), beat=False)
    assert left() != before
    stack.close()
    assert left() == before
    assert postgresql.is_running
    assert rabbitmq.is_running


def _read_until(output: IO[str], words: str) -> str:
    said = ""
    for line in output:
        said += line
        if words in line:
            return said
    raise AssertionError(f"ended without saying {words!r}: {said}")
