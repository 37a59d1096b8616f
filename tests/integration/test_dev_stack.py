"""The stack as a person starts it: it comes up, says how to reach it, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

import pytest

from dev.program import ROOT
from dev.servers import tree


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_stack_leaves_no_process_and_no_folder(number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "dev.stack", "--only-servers"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        said = _read_until(output, "Ctrl-C stops everything")
        family = tree.family(parent.pid)
        folder = Path(said.partition("logs")[2].split()[0])
        assert len(family) > 8, "BIND, PowerDNS, Redis, epmd, RabbitMQ and PostgreSQL with children"
        assert folder.is_dir()
        parent.send_signal(number)
        output.read()
    assert parent.wait(30) == 0
    tree.wait_gone(family, timeout_s=1)
    assert not folder.exists()
    for name in ("BROKER_URL", "DATABASE_URL", "RESULT_URL", "REDIS_URL", "POOLS"):
        assert f"export DNSWORKER_{name}=" in said


def test_flower_asks_for_a_password() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "dev.stack"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
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


def _read_until(output: IO[str], words: str) -> str:
    said = ""
    for line in output:
        said += line
        if words in line:
            return said
    raise AssertionError(f"ended without saying {words!r}: {said}")
