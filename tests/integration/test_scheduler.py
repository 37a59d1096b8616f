"""The scheduler, and Celery's own commands, with a real broker and worker."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dev.servers.process import Process
from dev.servers.redis import Redis
from dnsworker.queues import SWEEP_TASK
from dnsworker.testing import Proxy
from tests.acceptance.comparison import wait_for

ROOT = Path(__file__).parents[2]
BEAT = """
from dnsworker.logs import set_up_logging
from dnsworker.settings import load_settings
from dnsworker.worker import run_beat
settings = load_settings()
set_up_logging(settings)
run_beat(settings)
"""


@pytest.fixture
def environment(broker_url: str, redis: Redis) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DNSWORKER_BROKER_URL": broker_url,
        "DNSWORKER_RESULT_URL": redis.url,
        "DNSWORKER_SWEEP_INTERVAL_S": "0.2",
    }


def test_two_schedulers_wake_the_deliveries_and_end_when_told(
    start_worker: Callable[..., Process], environment: dict[str, str], notes: Any, tmp_path: Path
) -> None:
    notes.redis.rpush("targets", "bind-1")
    start_worker()
    beats = [
        Process([sys.executable, "-c", BEAT], log_path=tmp_path / f"beat-{number}.log", env=environment)
        for number in range(2)
    ]
    try:
        notes.wait_for("delivered", 5)
    finally:
        for beat in beats:
            beat.stop(10)
    assert [beat.returncode for beat in beats] == [0, 0], beats[0].tail()
    assert "Traceback" not in beats[0].tail(200)
    assert not list(ROOT.glob("celerybeat*"))


def test_a_broker_that_goes_away_under_a_message_is_lines_and_no_stack(
    environment: dict[str, str], tmp_path: Path
) -> None:
    broker = urlsplit(environment["DNSWORKER_BROKER_URL"])
    assert broker.hostname is not None
    assert broker.port is not None
    sent = threading.Event()

    def watch(data: bytes) -> None:
        if SWEEP_TASK.encode() in data:
            sent.set()

    with Proxy(broker.hostname, broker.port, lambda _: False, watch=lambda: watch) as line:
        own = broker._replace(netloc=f"{broker.username}:{broker.password}@{line.host}:{line.port}").geturl()
        environment = {**environment, "DNSWORKER_BROKER_URL": own}
        beat = Process([sys.executable, "-c", BEAT], log_path=tmp_path / "beat.log", env=environment)
        try:
            wait_for(sent.is_set, "no message was sent")
            line.close()
            wait_for(lambda: "the next one is due in 0.2 s" in beat.tail(200), "beat has missed nothing")
        finally:
            beat.stop(10)
    assert "Traceback" not in beat.tail(1000)
    assert "ERROR" not in beat.tail(1000)


def test_celerys_own_commands_find_the_application(
    start_worker: Callable[..., Process], environment: dict[str, str]
) -> None:
    start_worker()

    def celery(*arguments: str) -> str:
        command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "dnsworker.app", *arguments]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr

    assert "pong" in celery("inspect", "ping")
    queues = celery("inspect", "active_queues")
    for name in ("dns.intake", "dns.query", "dns.sweep"):
        assert name in queues


def test_a_bad_setting_is_one_line(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "celery", "-A", "dnsworker.app", "inspect", "ping"]
    environment = environment | {"DNSWORKER_CONCURRENCY": "many"}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "DNSWORKER_CONCURRENCY" in done.stderr
    assert "Traceback" not in done.stderr
