"""Log lines for people or for machines, with the operation, zone and target that they are about.

Separate so that Celery's worker, the scheduler and the embedded system log alike; nothing here knows them.
Code says what a line is about with `extra={"zone": …}`, or for all lines of a piece of work with `about`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

from dnsworker.credentials import MASK, mask_url
from dnsworker.settings import Settings

#: What a line may be about, in the order in which it is printed.
FIELDS = ("operation", "pool", "zone", "target", "nameserver")
#: And what a program may want to have apart, which people read in the message.
MORE = ("status", "code", "took_s")
#: Libraries that tell each request or connection at INFO.
QUIETER = ("amqp", "celery", "kombu", "urllib3", "httpx", "httpcore", "alembic", "sqlalchemy")

#: One of these is in what `_ASSIGNED_SECRET` looks for, which takes longer than all else about a line.
_SECRET_WORDS = ("key", "secret", "passw", "token")
_ASSIGNED_SECRET = re.compile(
    r"(?i)\b((?:api_?key|secret|password|passwd|token|x-api-key)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&)}]+"
)


class About(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry fields; fields given with a line are added to them."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}


_about: ContextVar[dict[str, Any]] = ContextVar("about")


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Whatever this thread logs within is about these, unless a line says otherwise."""
    token = _about.set({**_about.get({}), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def also_about(**fields: Any) -> None:
    """The same, from here on to the end of the innermost `about`; nothing without one."""
    if (current := _about.get(None)) is not None:
        current.update(fields)


def set_up_logging(settings: Settings, stream: IO[str] | None = None) -> None:
    """Send all logging of this process to `stream` (standard error), as `log_format` says. Repeatable."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else Console())
    handler.set_name("dnsworker")
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if one.get_name() == "dnsworker"]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    for name in QUIETER:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


class Console(logging.Formatter):
    """`12:00:01.234 WARNING dnsworker.delivery  connection refused  zone=example.org. target=bind-1`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f"  {name}={value}" for name, value in _fields(record, FIELDS).items())
        line = f"{moment} {record.levelname:<7} {record.name}  {record.getMessage()}{fields}"
        return without_secrets(line + _trace(self, record))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **_fields(record, FIELDS + MORE),
        }
        trace = _trace(self, record)
        if trace:
            line["trace"] = without_secrets(trace.strip())
        return json.dumps(line, ensure_ascii=False, default=str)


def without_secrets(text: str) -> str:
    """`text` with passwords in URLs and `api_key=…`-like assignments masked: the last line of defence."""
    text, folded = mask_url(text), text.casefold()
    if not any(word in folded for word in _SECRET_WORDS):
        return text
    return _ASSIGNED_SECRET.sub(rf"\g<1>{MASK}", text)


def _fields(record: logging.LogRecord, names: tuple[str, ...]) -> dict[str, Any]:
    # A handler formats in the thread that logs.
    known = _about.get({})
    found = {name: getattr(record, name, known.get(name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""
