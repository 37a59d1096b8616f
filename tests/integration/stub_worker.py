"""A real worker with a stub runtime, started by the broker tests: what it is given, it notes in Redis.

    python stub_worker.py [queue …]

An operation's comment says what is to happen to it: `slow` waits until the key `release` exists,
`away` meets a database that is away until then, `broken` meets an error that nobody foresaw.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import redis
import sqlalchemy as sa

from dnsworker.errors import ConfigError, InvalidRequest, OperationNotFound, ZoneNotFound
from dnsworker.intake import Arrival, Fate, Taken
from dnsworker.logs import set_up_logging
from dnsworker.operations import Outcome, Status
from dnsworker.requests.kinds import parse_request
from dnsworker.requests.questions import parse_query
from dnsworker.settings import Settings, load_settings
from dnsworker.worker import run_worker


class StubRuntime:
    def __init__(self, settings: Settings, signals: Any) -> None:
        self._signals = signals
        assert settings.redis_url is not None
        self._notes = redis.Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)

    def start(self) -> None:
        self._notes.rpush("started", os.getpid())

    def stop(self) -> None:
        self._notes.rpush("stopped", os.getpid())

    def receive(
        self,
        operation_id: str,
        kind: str,
        arguments: Mapping[str, Any],
        user: str | None,
        traceparent: str | None = None,
    ) -> Outcome:
        note = {"id": operation_id, "kind": kind, "arguments": arguments, "user": user}
        self._notes.rpush("received", json.dumps(note))
        comment = arguments.get("comment")
        if comment in ("slow", "away"):
            while not self._notes.exists("release"):
                if comment == "away":
                    raise sa.exc.OperationalError("SELECT 1", {}, Exception("connection refused"))
                time.sleep(0.01)
        if comment == "broken":
            raise RuntimeError("nobody foresaw this")
        try:
            request = parse_request(kind, arguments)
        except InvalidRequest as exc:
            outcome = Outcome(
                id=operation_id, kind=kind, zone="", status=Status.ERROR, code=exc.code, message=exc.message
            )
        else:
            outcome = Outcome(
                id=operation_id, kind=kind, zone=request.zone, status=Status.ACTIVE, serial=7, submitter=user
            )
        self._notes.hset("outcomes", operation_id, outcome.model_dump_json())
        if comment != "untold":
            self._signals.publish_outcomes([outcome])
        self._notes.rpush("done", operation_id)
        return outcome

    def receive_all(self, arrivals: Sequence[Arrival], *, wait: bool = True) -> Taken:
        taken = Taken()
        for one in arrivals:
            outcome = self.receive(one.operation_id, one.kind, one.arguments, one.user)
            fate = Fate(outcome.status, outcome.serial, outcome.code, outcome.message)
            taken.fates[one.operation_id] = fate
        return taken

    def take_in(self) -> None:
        self._notes.rpush("taken in", "once")

    def deliver(self, target: str) -> str:
        self._notes.rpush("delivered", target)
        return "nothing due"

    def sweep(self) -> dict[str, int]:
        for target in self.target_names():
            self._signals.wake_delivery(target)
        return {"woken": len(self.target_names())}

    def ask(self, kind: str, arguments: Mapping[str, Any], user: str | None = None) -> Any:
        query = parse_query(kind, arguments)
        if kind == "show_operation":
            found = self._notes.hget("outcomes", query.id)
            if found is None:
                raise OperationNotFound(f"no operation {query.id}")
            return json.loads(str(found))
        if query.zone == "absent.example.":
            raise ZoneNotFound("no zone absent.example.")
        return {"zone": query.zone, "kind": kind}

    def target_names(self) -> list[str]:
        return [str(name) for name in self._notes.lrange("targets", 0, -1)]


if __name__ == "__main__":
    settings = load_settings()
    set_up_logging(settings)
    try:
        run_worker(
            settings,
            sys.argv[1:] or None,
            make_runtime=StubRuntime,
            on_ready=lambda: print("READY", flush=True),
        )
    except ConfigError as exc:
        sys.exit(f"dnsworker: {exc}")
