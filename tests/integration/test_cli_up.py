"""`dnsworker up` and `dnsworker demo` as a user runs them: processes, signals, a nameserver that answers."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest

START_S, STOP_S, COMMAND_S = 60, 30, 60
PROGRAM = [sys.executable, "-m", "dnsworker"]
ROOT = Path(__file__).resolve().parents[2]


class Up:
    """One `dnsworker up` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DNSWORKER_")}
        self.environment = environment | {"DNSWORKER_DATA_DIR": str(directory), "PYTHONPATH": str(ROOT)}
        self.process: subprocess.Popen[str] | None = None
        self.said: dict[str, Any] = {}

    def start(self) -> Up:
        self.process = subprocess.Popen(
            [*PROGRAM, "up", "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=self.environment, start_new_session=True,
        )  # fmt: skip
        lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=lambda out: lines.put(out.readline()), args=(self.process.stdout,)).start()
        try:
            self.said = json.loads(lines.get(timeout=START_S))
        except (queue.Empty, json.JSONDecodeError):
            self.process.kill()
            raise AssertionError(f"up did not start: {self.process.communicate()[1]}") from None
        return self

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """(exit code, standard error)."""
        assert self.process is not None
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=STOP_S)
        return self.process.returncode, errors

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments], capture_output=True, text=True, env=self.environment, timeout=COMMAND_S
        )

    def ask(self, name: str, type: str) -> tuple[str, list[str]]:
        """(response code, rdata texts)."""
        query = dns.message.make_query(name, type)
        answer = dns.query.udp(query, self.said["host"], port=self.said["port"], timeout=5)
        return dns.rcode.to_text(answer.rcode()), [rd.to_text() for rrset in answer.answer for rd in rrset]


@pytest.fixture
def make_up(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    made: list[Up] = []

    def make() -> Up:
        made.append(Up(tmp_path / "data"))
        return made[-1]

    yield make
    for up in made:
        if up.process is not None and up.process.poll() is None:
            os.killpg(up.process.pid, signal.SIGKILL)
            up.process.communicate(timeout=STOP_S)


def test_up_serves_what_was_asked_for_and_keeps_it_over_a_restart(make_up: Callable[[], Up]) -> None:
    up = make_up().start()
    created = up.run("zone", "create", "example.org", "--email", "hostmaster@example.org")
    assert (created.returncode, created.stderr) == (0, ""), created
    assert "example.org.  ACTIVE in " in created.stdout
    assert up.run("record", "create", "example.org", "www", "A", "192.0.2.1").returncode == 0
    assert up.ask("www.example.org.", "A") == ("NOERROR", ["192.0.2.1"])
    refused = up.run("record", "create", "example.org", "www", "A", "192.0.2.2")
    assert (refused.returncode, "RecordExists" in refused.stderr) == (1, True)
    code, errors = up.stop()
    assert (code, "Traceback" in errors) == (0, False), errors

    up = make_up().start()  # on another port: the pool follows
    assert up.ask("www.example.org.", "A") == ("NOERROR", ["192.0.2.1"])
    deleted = up.run("record", "delete", "example.org", "www", "A")
    assert deleted.returncode == 0, deleted
    assert up.ask("www.example.org.", "A") == ("NXDOMAIN", [])
    assert "ACTIVE 1" in up.run("status").stdout
    assert up.stop(signal.SIGINT)[0] == 0


def test_ctrl_c_is_quiet_and_leaves_nothing_running(make_up: Callable[[], Up]) -> None:
    up = make_up().start()
    code, errors = up.stop(signal.SIGINT)
    assert (code, "Traceback" in errors) == (0, False), errors
    assert up.process is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(up.process.pid, 0)


def test_a_port_that_is_taken_is_told_in_one_line(make_up: Callable[[], Up]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = make_up().run("up", "--port", str(port))
    assert result.returncode == 1
    assert f"can't listen on 127.0.0.1 port {port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_demo_gets_every_answer_right_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DNSWORKER_")}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*PROGRAM, "demo", "--json"], capture_output=True, text=True, env=environment, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"]
    assert len(told["steps"]) >= 10
    assert list(tmp_path.iterdir()) == []
