"""Log lines: their shape, their fields, and that no secret passes."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from dnsworker.logs import Console, about, also_about, set_up_logging, without_secrets
from dnsworker.settings import Settings


@pytest.fixture
def untouched_root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def log(request: pytest.FixtureRequest) -> logging.Logger:
    return logging.getLogger(f"dnsworker.{request.node.name}")


@pytest.mark.usefixtures("untouched_root")
def test_json_lines_carry_time_level_message_and_fields(log: logging.Logger) -> None:
    stream = io.StringIO()
    set_up_logging(Settings(log_format="json", log_level="DEBUG"), stream)
    fields = {"operation": "1", "zone": "example.org.", "target": "bind-1"}
    log.warning("refused\nwith %s", "reason", extra=fields)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING", "logger": log.name, "message": "refused\nwith reason",
        "operation": "1", "zone": "example.org.", "target": "bind-1",
    }  # fmt: skip


@pytest.mark.usefixtures("untouched_root")
def test_console_lines_end_with_their_fields(log: logging.Logger) -> None:
    stream = io.StringIO()
    set_up_logging(Settings(log_level="info"), stream)
    log.debug("not shown")
    log.info("taken in", extra={"operation": "1", "zone": "example.org."})
    line = stream.getvalue()
    assert line.endswith(f" INFO    {log.name}  taken in  operation=1  zone=example.org.\n")


def test_setting_up_twice_logs_once(untouched_root: logging.Logger, log: logging.Logger) -> None:
    stream = io.StringIO()
    set_up_logging(Settings(), stream)
    set_up_logging(Settings(), stream)
    log.info("hello")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.usefixtures("untouched_root")
def test_an_error_carries_its_trace(log: logging.Logger) -> None:
    stream = io.StringIO()
    set_up_logging(Settings(log_format="json"), stream)
    try:
        raise ValueError("can't reach amqp://u:hunter2@host")
    except ValueError:
        log.exception("failed")
    line = json.loads(stream.getvalue())
    assert "ValueError: can't reach amqp://u:********@host" in line["trace"]


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://dns:hunter2@db/dns is away", "X-API-Key: hunter2", "{'api_key': 'hunter2'}",
        'secret="hunter2"', "password=hunter2&x=1", "token = hunter2",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (text,), None)
    assert "hunter2" not in Console().format(record)
    assert "********" in without_secrets(text)


def test_other_words_are_left_alone() -> None:
    text = "the key tag 20326 of example.org. has no secret; https://host/path?x=1"
    assert without_secrets(text) == text


@pytest.mark.usefixtures("untouched_root")
def test_whatever_is_logged_within_a_piece_of_work_says_what_it_is_about(log: logging.Logger) -> None:
    stream = io.StringIO()
    set_up_logging(Settings(log_format="json"), stream)
    with about(target="bind-1"):
        with about(pool="default"):
            also_about(zone="example.org.")
            log.info("one")
            log.info("two", extra={"zone": "example.net."})
        log.info("three")
    also_about(zone="nobody's")
    log.info("four")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [{key: line[key] for key in ("pool", "zone", "target") if key in line} for line in lines]
    assert told == [
        {"pool": "default", "zone": "example.org.", "target": "bind-1"},
        {"pool": "default", "zone": "example.net.", "target": "bind-1"},
        {"target": "bind-1"},
        {},
    ]
