"""The command line with a stub for the workers: what it says, where it says it, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from dnsworker.cli import cli, output, past
from dnsworker.cli.change import progress_line
from dnsworker.cli.session import Session
from dnsworker.cli.target import print_targets
from dnsworker.errors import (
    NoAnswer,
    OperationFailed,
    OperationNotFound,
    SubmissionFailed,
    WaitTimeout,
    ZoneNotFound,
)
from dnsworker.operations import NameserverReport, Outcome, Preview, Status, TargetReport

ID = "0190a6c0-0000-7000-8000-000000000001"
Run = Callable[..., Result]


def outcome(status: Status = Status.ACTIVE, **values: Any) -> Outcome:
    given = {"id": ID, "kind": "create_record", "zone": "example.org.", "serial": 1790000001, **values}
    return Outcome(status=status, **given)


class StubOperation:
    preview: Preview | None = None

    def __init__(self, result: Outcome | Exception, foreseen: Preview | None = None) -> None:
        self.foreseen = foreseen
        self.id = ID
        self.result = result
        self.waited: list[float] = []

    def wait(self, timeout: float = 30.0) -> Outcome:
        self.waited.append(timeout)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def outcome(self) -> Outcome:
        return self.result if isinstance(self.result, Outcome) else outcome(Status.PENDING, serial=None)


class StubClient:
    """Notes what it is asked, and answers with `result`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.result: Any = outcome()
        self.error: Exception | None = None
        self.foreseen: Preview | None = None
        self.operations: list[StubOperation] = []

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((method, args, kwargs))
            if self.error is not None:
                raise self.error
            if method.startswith(("show_", "list_", "export_")):
                return self.result
            foreseen = self.foreseen if kwargs.get("dry_run") else None
            self.operations.append(StubOperation(self.result, foreseen))
            return self.operations[-1]

        return call


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StubClient:
    stub = StubClient()
    monkeypatch.setattr(Session, "client", stub)
    return stub


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("BROKER_URL", "RESULT_URL", "DATABASE_URL", "POOLS"):
        monkeypatch.delenv(f"DNSWORKER_{name}", raising=False)
    monkeypatch.setenv("DNSWORKER_DATA_DIR", "/nonexistent/dnsworker")

    def invoke(*arguments: str, input: str | None = None, **extra: Any) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=input, **extra)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_a_change_says_what_happened_in_one_line_with_the_time(run: Run, client: StubClient) -> None:
    result = run("record", "create", "example.org", "www", "A", "192.0.2.1", "192.0.2.2", "--ttl", "300")
    assert result.exit_code == 0
    assert result.stderr == ""
    line = result.stdout.strip()
    assert line.startswith("www.example.org. A  ACTIVE in ")
    assert line.endswith("(serial 1790000001)")
    assert client.calls == [
        ("create_record", ("example.org", "www", "A", ["192.0.2.1", "192.0.2.2"]), {"ttl": 300})
    ]


CHANGES = [
    (["zone", "create", "x.org", "--email", "a@x.org"], ("create_zone", ("x.org",), {"email": "a@x.org"})),
    (["zone", "update", "x.org", "--ttl", "60"], ("update_zone", ("x.org",), {"ttl": 60})),
    (["zone", "delete", "x.org", "--force"], ("delete_zone", ("x.org",), {"force": True})),
    (["zone", "move", "x.org", "--pool", "new"], ("move_zone", ("x.org",), {"to": "new"})),
    (
        ["zone", "move", "x.org", "--to", "new", "--from", "old", "--force", "--comment", "why"],
        ("move_zone", ("x.org",), {"to": "new", "pool": "old", "force": True, "comment": "why"}),
    ),
    (["zone", "import", "x.org", "-"], ("import_zone", ("x.org",), {"text": "zone file\n"})),
    (
        ["record", "update", "x.org", "@", "MX", "10 mx.x.org.", "--pool", "p"],
        ("update_record", ("x.org", "@", "MX", ["10 mx.x.org."]), {"pool": "p"}),
    ),
    (
        ["record", "put", "x.org", "w", "TXT", '"a b"', "--comment", "why"],
        ("put_record", ("x.org", "w", "TXT", ['"a b"']), {"comment": "why"}),
    ),
    (["record", "delete", "x.org", "w", "A"], ("delete_record", ("x.org", "w", "A"), {})),
    (["zone", "restore", "x.org", "--serial", "7"], ("restore_zone", ("x.org",), {"serial": 7})),
    (
        ["zone", "restore", "x.org", "--to", "2026-11-27T09:30Z", "--yes", "--force"],
        ("restore_zone", ("x.org",), {"to": "2026-11-27T09:30Z", "force": True}),
    ),
]


@pytest.mark.parametrize(("arguments", "call"), CHANGES)
def test_each_change_calls_the_client_once(
    run: Run, client: StubClient, arguments: list[str], call: tuple[Any, ...]
) -> None:
    result = run(*arguments, input="zone file\n")
    assert result.exit_code == 0, result.output
    assert client.calls == [call]


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in CHANGES])
def test_each_change_prints_json_when_asked(run: Run, client: StubClient, arguments: list[str]) -> None:
    told = json.loads(run(*arguments, "--json", input="zone file\n").stdout)
    assert (told["id"], told["status"], told["serial"]) == (ID, "ACTIVE", 1790000001)
    assert told["elapsed_s"] >= 0


PREVIEW = Preview(
    kind="put_record", zone="x.org.", pool="p", current_serial=7, serial=8, created=1200, updated=1,
    rrsets=[
        {
            "name": "w.x.org.", "type": "A",
            "before": {"ttl": 60, "data": ["192.0.2.1", "192.0.2.2"]},
            "after": {"ttl": 60, "data": ["192.0.2.2"]},
        }
    ],
    settings=[{"name": "ttl", "before": 5, "after": 6}], targets=["one", "two"],
)  # fmt: skip
REFUSED = Preview(kind="put_record", zone="x.org.", code="RecordExists", message="it is there")


@pytest.mark.parametrize(("arguments", "call"), CHANGES)
def test_a_dry_run_of_each_change_tells_what_it_would_do(
    run: Run, client: StubClient, arguments: list[str], call: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StubOperation, "preview", PREVIEW)
    result = run(*arguments, "--dry-run", input="zone file\n")
    method, positional, given = call
    assert client.calls == [(method, positional, given | {"dry_run": True})]
    assert client.operations[0].waited == []
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].endswith(
        "  would be changed: 1,200 RRsets created, 1 replaced (serial 8, now 7)"
    )
    assert result.stdout.splitlines()[1:] == [
        "  ttl 5 becomes 6",
        "  - w.x.org. 60 IN A 192.0.2.1",
        "  and 1,200 more RRsets",
        "  to be written to one, two",
        "Nothing was done.",
    ]
    told = json.loads(run(*arguments, "--dry-run", "--json", input="zone file\n").stdout)
    assert (told["dry_run"], told["is_refused"], told["serial"]) == (True, False, 8)


def test_a_dry_run_of_what_would_be_refused_ends_with_1_and_the_reason(
    run: Run, client: StubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StubOperation, "preview", REFUSED)
    result = run("record", "create", "x.org", "w", "A", "192.0.2.1", "--dry-run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "w.x.org. A  would be refused: RecordExists: it is there\n"


@pytest.mark.parametrize(("answer", "calls", "code"), [("y\n", 2, 0), ("n\n", 1, 1)])
def test_on_a_terminal_a_restore_is_shown_and_asked_for(
    run: Run, client: StubClient, monkeypatch: pytest.MonkeyPatch, answer: str, calls: int, code: int
) -> None:
    monkeypatch.setattr(StubOperation, "preview", property(lambda self: self.foreseen))
    monkeypatch.setattr(past, "is_interactive", lambda: True)
    client.foreseen = PREVIEW
    result = run("zone", "restore", "x.org", "--serial", "7", input=answer)
    assert [given.get("dry_run") for _, _, given in client.calls] == [True, None][:calls]
    assert "  - w.x.org. 60 IN A 192.0.2.1\n" in result.stdout
    assert "Do it? [y/N]" in result.stdout
    assert ("Nothing was done." in result.stderr, result.exit_code) == (code == 1, code)


def test_what_would_be_refused_is_not_asked_for(
    run: Run, client: StubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StubOperation, "preview", REFUSED)
    monkeypatch.setattr(past, "is_interactive", lambda: True)
    result = run("zone", "restore", "x.org", "--serial", "7")
    assert (result.exit_code, len(client.calls)) == (1, 1)
    assert result.stderr == "x.org.  would be refused: RecordExists: it is there\n"


def test_so_long_ago_is_a_time(run: Run, client: StubClient) -> None:
    run("zone", "restore", "x.org", "--to", "1h30m ago")
    ((_, _, given),) = client.calls
    at = datetime.fromisoformat(given["to"])
    assert timedelta(hours=1, minutes=29) < datetime.now(UTC) - at < timedelta(hours=1, minutes=31)
    assert "is no duration" in run("zone", "restore", "x.org", "--to", "long ago").stderr


def test_a_history_is_told_change_by_change(run: Run, client: StubClient) -> None:
    change = {
        "serial": 8, "at": "2026-11-27T09:30:00.000+00:00", "kind": "put_record", "operation": ID,
        "who": "shop", "comment": "ticket", "status": "ACTIVE", "reason": None, "is_taken_back": False,
        "becomes": None, "created": 0, "updated": 1, "deleted": 0, "settings": PREVIEW.settings,
        "rrsets": PREVIEW.rrsets, "is_cut": False,
    }  # fmt: skip
    client.result = {
        "zone": "x.org.", "pool": "p", "status": "ACTIVE", "serial": 8, "changes": [change], "older": 8,
        "begins": {"serial": 1, "at": "2026-11-26T09:30:00.000+00:00", "is_all": True},
    }  # fmt: skip
    told = run("zone", "history", "x.org", "--limit", "1").stdout.splitlines()
    assert client.calls == [("show_history", ("x.org",), {"limit": 1})]
    assert told[:2] == ["x.org.  ACTIVE (serial 8)", ""]
    assert told[2].startswith("8  2026-11-27 09:30:00 UTC (")
    assert told[2].endswith(")  put_record by shop  ACTIVE")
    assert told[3:] == [
        f"  operation  {ID}",
        "  comment    ticket",
        "  changed    1 RRset replaced",
        "  ttl 5 becomes 6",
        "  - w.x.org. 60 IN A 192.0.2.1",
        "",
        "Older: dnsworker zone history x.org. --before 8",
    ]


def test_without_waiting_the_id_is_told_and_nobody_waits(run: Run, client: StubClient) -> None:
    result = run("record", "delete", "example.org", "www", "A", "--no-wait")
    assert (result.exit_code, result.stdout) == (0, f"www.example.org. A  submitted as {ID}\n")
    assert client.operations[0].waited == []
    told = json.loads(run("record", "delete", "example.org", "www", "A", "--no-wait", "--json").stdout)
    assert told == {"id": ID, "status": "PENDING"}


def test_the_timeout_is_passed_on(run: Run, client: StubClient) -> None:
    run("zone", "delete", "example.org", "--timeout", "2.5")
    assert client.operations[0].waited == [2.5]


def test_whoever_waits_for_long_hears_early_that_no_worker_is_there(run: Run, client: StubClient) -> None:
    client.result = WaitTimeout("late", outcome(Status.PENDING, serial=None))
    result = run("zone", "delete", "example.org", "--timeout", "10")
    assert client.operations[0].waited == [3, 7]
    assert result.stderr.splitlines()[0].startswith("no worker has taken it in yet; is `dnsworker up`")
    assert result.exit_code == 1


def test_superseded_is_a_success(run: Run, client: StubClient) -> None:
    client.result = outcome(Status.SUPERSEDED)
    result = run("record", "delete", "example.org", "www", "A")
    assert (result.exit_code, "SUPERSEDED in" in result.stdout) == (0, True)


def test_a_refused_operation_ends_with_1_and_its_reason_on_stderr(run: Run, client: StubClient) -> None:
    refused = outcome(Status.ERROR, serial=None, code="RecordExists", message="www.example.org. A exists")
    client.result = OperationFailed("RecordExists", "www.example.org. A exists", refused)
    result = run("record", "create", "example.org", "www", "A", "192.0.2.1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("www.example.org. A  ERROR after ")
    assert result.stderr.endswith(": RecordExists: www.example.org. A exists\n")


def test_a_refused_operation_is_json_on_stdout_when_asked(run: Run, client: StubClient) -> None:
    refused = outcome(Status.ERROR, code="RecordExists", message="exists").model_dump(mode="json")
    client.result = OperationFailed("RecordExists", "exists", refused)
    result = run("record", "create", "example.org", "www", "A", "192.0.2.1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == "RecordExists"


def test_what_is_not_active_yet_tells_why_and_when_it_is_tried_again(run: Run, client: StubClient) -> None:
    waiting = outcome(
        Status.ACCEPTED,
        message="1 of 2 targets",
        targets=[
            TargetReport(target="pdns-1", is_current=True, state="present"),
            TargetReport(
                target="bind-1", is_current=False, state="present", attempts=3,
                last_error="connection refused",
                next_attempt_at=datetime.now(UTC) + timedelta(seconds=30),
                withheld=[{"name": "a.example.org.", "type": "A", "message": "too many"}],
            ),
        ],
        nameservers=[NameserverReport(nameserver="192.0.2.1:53", is_current=False, serial=7)],
    )  # fmt: skip
    client.result = WaitTimeout("late", waiting)
    result = run("record", "delete", "example.org", "www", "A", "--timeout", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("www.example.org. A  still ACCEPTED after ")
    assert lines[0].endswith(" (serial 1790000001): 1 of 2 targets")
    assert lines[1].startswith("  bind-1: connection refused (attempt 3); next attempt in ")
    assert lines[2] == "  bind-1 refuses a.example.org. A: too many"
    assert lines[3] == "  192.0.2.1:53: answers with serial 7"
    assert lines[4] == f"It goes on; wait with `dnsworker operation wait {ID}`."


def test_ctrl_c_while_waiting_is_quiet_and_tells_how_to_go_on(run: Run, client: StubClient) -> None:
    client.result = KeyboardInterrupt()
    result = run("record", "delete", "example.org", "www", "A")
    assert result.exit_code == 130
    assert f"`dnsworker operation wait {ID}` goes on" in result.stderr
    assert "Traceback" not in result.output


BAD_ARGUMENTS = [
    (["zon"], 2, "did you mean 'zone'?"),
    (["zone", "creat", "x"], 2, "did you mean 'create'?"),
    (["zone", "frobnicate"], 2, "there are: create, update, delete"),
    (["zone", "create"], 2, "Missing argument 'ZONE'"),
    (["zone", "create", "example.org"], 2, "Missing option '--email'"),
    (["zone", "create", "example.org", "--emial", "x"], 2, "No such option"),
    (["zone", "create", "example..org", "--email", "x@y.z"], 2, "example..org"),
    (["zone", "create", "example.org", "--email", "x@y.z", "--ttl", "1h"], 2, "'1h' is not a valid integer"),
    (["zone", "create", "example.org", "--email", "x@y.z", "--ttl", "2147483648"], 2, "not in the range"),
    (["zone", "create", "example.org", "extra", "--email", "x@y.z"], 2, "unexpected extra argument"),
    (["zone", "update", "example.org"], 2, "nothing to change; give one of --email, --ttl"),
    (["zone", "delete", "example.org", "--timeout", "soon"], 2, "--timeout"),
    (["zone", "delete", "example.org", "--timeout", "-1"], 2, "--timeout"),
    (["zone", "import", "example.org", "/nonexistent/file"], 2, "No such file or directory"),
    (["zone", "list", "--limit", "0"], 2, "--limit"),
    (["zone", "move", "example.org"], 2, "Missing option '--pool'"),
    (["zone", "move", "example..org", "--pool", "new"], 2, "example..org"),
    (["zone", "list"], 1, "no dnsworker in /nonexistent/dnsworker yet: start one with `dnsworker up`"),
    (["record", "create", "example.org", "www", "A"], 2, "Missing argument 'DATA...'"),
    (["record", "create", "example.org", "www.example.org", "A", "192.0.2.1"], 2, "ambiguous"),
    (["record", "create", "example.org", "www.example.com.", "A", "192.0.2.1"], 2, "not in the zone"),
    (["record", "create", "example.org", "", "A", "192.0.2.1"], 2, "write @"),
    (["record", "delete", "example.org", "www", "A", "192.0.2.1"], 2, "unexpected extra argument"),
    (["record", "list"], 2, "Missing argument 'ZONE'"),
    (["operation", "show"], 2, "Missing argument 'ID'"),
    (["operation", "list"], 1, "start one with `dnsworker up`"),
    (["pool", "check", "/nonexistent/pools.yaml"], 1, "can't read /nonexistent/pools.yaml"),
    (["pool", "apply"], 2, "Give FILE or set DNSWORKER_POOLS"),
    (["pool", "apply", "/"], 2, "is a directory"),
    (["pool", "apply", "x.yaml", "--purge", "--detach"], 2, "give --detach or --purge, not both"),
    (["target", "show", "x"], 1, "start one with `dnsworker up`"),
    (["target", "pause", "x", "--for", "soon"], 2, "'soon' is no duration of up to a year, such as 90s"),
    (["target", "pause", "x", "--for", "0s"], 2, "'0s' is no duration"),
    (["target", "pause", "x", "--all"], 2, "give NAME or --all"),
    (["target", "pause", "x", "--reason", "x" * 501], 2, "of at most 500 characters"),
    (["status"], 1, "start one with `dnsworker up`"),
    (["worker", "-c", "0"], 2, "--concurrency"),
    (["worker", "-c", "many"], 2, "--concurrency"),
    (["queues", "declare"], 1, "DNSWORKER_BROKER_URL is not set"),
    (["queues", "dead"], 1, "DNSWORKER_BROKER_URL is not set"),
    (["queues", "requeue"], 2, "give an ID or --all"),
    (["queues", "discard", "x"], 2, "would be gone for good; say --yes"),
    (["completion", "tcsh"], 2, "tcsh"),
    (["up", "--port", "99999"], 2, "--port"),
]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(("arguments", "code", "part"), BAD_ARGUMENTS)
def test_a_bad_argument_is_one_clear_line(run: Run, arguments: list[str], code: int, part: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert part in result.stderr
    assert result.stderr.startswith("dnsworker")


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("DNSWORKER_LEASE_S", "soon", "DNSWORKER_LEASE_S"),
        ("DNSWORKER_DATABASE_URL", "hunter2", "DNSWORKER_DATABASE_URL is not a database URL"),
        ("DNSWORKER_POOLS_FILE", "/nonexistent/x", "can't read /nonexistent/x"),
    ],
)
def test_a_bad_setting_is_one_clear_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, part: str
) -> None:
    monkeypatch.setenv(name, value)
    result = run("zone", "list")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert part in result.stderr
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ZoneNotFound("no zone example.org."), 1),
        (NoAnswer(), 1),
        (SubmissionFailed("the broker did not confirm it"), 1),
        (OSError(13, "Permission denied", "/x"), 1),
    ],
)
def test_what_the_client_raises_is_one_line(
    run: Run, client: StubClient, error: Exception, code: int
) -> None:
    client.error = error
    result = run("zone", "show", "example.org")
    assert (result.exit_code, len(result.stderr.splitlines())) == (code, 1)


def test_a_mistake_of_ours_is_not_hidden(run: Run, client: StubClient) -> None:
    client.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run("zone", "show", "example.org")


def test_a_missing_extra_is_named(run: Run, client: StubClient) -> None:
    client.error = ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")
    result = run("zone", "show", "example.org")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "pip install 'dnsworker[worker]'" in result.stderr


def test_no_command_shows_the_help_and_is_a_usage_error(run: Run) -> None:
    for arguments in ([], ["zone"]):
        result = run(*arguments)
        assert (result.exit_code, "Commands:" in result.output) == (2, True)


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", commands(cli), ids=" ".join)
def test_every_command_has_json_and_help(run: Run, path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_the_commands_are_those_of_the_design() -> None:
    assert {" ".join(path) for path in commands(cli)} == {
        "up", "demo", "worker", "beat", "exporter", "health", "dashboard",
        "backends", "status", "schema", "completion",
        "zone create", "zone update", "zone delete", "zone show", "zone list", "zone import", "zone export",
        "zone history", "zone restore",
        "zone freeze", "zone thaw", "zone notify", "zone move", "zone diff", "zone sync",
        "record create", "record update", "record put", "record delete", "record list",
        "operation show", "operation list", "operation wait", "operation retry",
        "operation cancel",
        "target show", "target pause", "target resume", "pool show", "pool check", "pool apply",
        "permissions check", "permissions explain",
        "queues declare", "queues dead", "queues requeue", "queues discard", "db upgrade", "db restored",
    }  # fmt: skip


def test_a_zone_is_shown_with_its_targets_nameservers_and_withheld_records(
    run: Run, client: StubClient
) -> None:
    client.result = {
        "name": "example.org.", "pool": "default", "status": "DEGRADED", "reason": "bind-1 withholds one",
        "serial": 1790000001, "email": "hostmaster@example.org", "ttl": 3600,
        "targets": [
            {
                "target": "bind-1", "is_current": False, "state": "present", "serial": 17, "attempts": 2,
                "last_error": "SERVFAIL", "next_attempt_at": "2030-01-01T00:00:00Z",
                "withheld": [{"name": "www.example.org.", "type": "A", "message": "too many records"}],
            }
        ],
        "nameservers": [{"nameserver": "192.0.2.1:53", "serial": 16, "seen_at": "2026-01-01T00:00:00Z"}],
    }  # fmt: skip
    text = run("zone", "show", "example.org").stdout
    for part in (
        "example.org.  DEGRADED (serial 1790000001): bind-1 withholds one", "SERVFAIL", "192.0.2.1:53",
        "withheld at bind-1: www.example.org. A  too many records", "hostmaster@example.org",
    ):  # fmt: skip
        assert part in text
    assert json.loads(run("zone", "show", "example.org", "--json").stdout) == client.result


def test_records_are_listed_one_value_a_line(run: Run, client: StubClient) -> None:
    client.result = [
        {"name": "www.example.org.", "type": "A", "ttl": 300, "data": ["192.0.2.1", "192.0.2.2"]},
        {"name": "example.org.", "type": "TXT", "ttl": 3600, "data": ['"v=spf1 -all"']},
    ]
    lines = run("record", "list", "example.org", "--type", "A").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "TTL", "TYPE", "DATA"],
        ["www.example.org.", "300", "A", "192.0.2.1"],
        ["300", "A", "192.0.2.2"],
        ["example.org.", "3600", "TXT", '"v=spf1', '-all"'],
    ]
    assert client.calls[-1] == ("list_records", ("example.org",), {"type": "A"})


def test_an_operation_is_shown_and_waited_for(run: Run, client: StubClient) -> None:
    client.result = outcome(comment="ticket 5", submitter="shop")
    text = run("operation", "show", ID).stdout
    assert f"{ID}  ACTIVE" in text
    assert "ticket 5" in text
    assert ["by", "shop"] in [line.split() for line in text.splitlines()]
    result = run("operation", "wait", ID, "--timeout", "3")
    assert result.stdout.startswith("create_record example.org.  ACTIVE in ")
    client.error = OperationNotFound()
    assert run("operation", "show", ID).exit_code == 1


def test_an_export_is_the_bare_text(run: Run, client: StubClient) -> None:
    client.result = "example.org. 3600 IN SOA …\n"
    assert run("zone", "export", "example.org").stdout == client.result


def test_colours_only_on_a_terminal_and_never_with_no_color(run: Run, client: StubClient) -> None:
    arguments = ("record", "delete", "example.org", "www", "A")
    assert "\x1b[" not in run(*arguments).stdout
    assert "\x1b[32mACTIVE" in run(*arguments, color=True).stdout  # as if on a terminal
    assert "\x1b[" not in run(*arguments, color=True, env={"NO_COLOR": "1"}).stdout


def test_the_schema_names_every_task(run: Run) -> None:
    assert "dnsworker.put_record" in json.loads(run("schema").stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_line_goes_to_stdout_alone(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert f"_DNSWORKER_COMPLETE={shell}_source dnsworker" in result.stdout
    assert len(result.stdout.splitlines()) == 1


def test_from_a_wheel_running_says_to_use_a_checkout(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for arguments in (["up"], ["worker"], ["beat"], ["dashboard"], ["demo"], ["db", "upgrade"]):
        result = run(*arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert "a checkout or the image" in result.stderr


def test_up_refuses_to_run_beside_a_broker(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSWORKER_BROKER_URL", "amqp://u:hunter2@127.0.0.1//")
    result = run("up")
    assert (result.exit_code, "without a broker" in result.stderr) == (1, True)
    assert "hunter2" not in result.output


def test_the_help_needs_neither_database_nor_celery_application() -> None:
    heavy = "[m for m in ('sqlalchemy', 'alembic', 'celery.app.base', 'dns.query') if m in sys.modules]"
    code = f"import sys, dnsworker.cli; print({heavy})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0004, "0 ms"), (0.012, "12 ms"), (0.9994, "999 ms"), (0.9999, "1.0 s"),
        (1.44, "1.4 s"),
        (9.99, "10.0 s"), (12, "12 s"), (119, "119 s"), (180, "3 min"), (7300, "2 h"), (200_000, "2 d"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_the_progress_line_counts_servers() -> None:
    line = progress_line(
        "example.org.",
        outcome(
            Status.ACCEPTED,
            targets=[
                TargetReport(target="a", is_current=True, state="present"),
                TargetReport(target="b", is_current=False, state="creating"),
            ],
            nameservers=[NameserverReport(nameserver="n", is_current=False)],
        ),
        4.0,
    )
    assert line == "example.org.  [##########----------]  ACCEPTED  1 of 3 servers  4.0 s"


def test_targets_are_shown_with_their_budget_and_the_rest_they_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = {
        "type": "powerdns", "pool": "default", "backlog": 0, "failing": 0, "blocked": 0, "breaker": "closed",
    }  # fmt: skip
    print_targets([{"name": "a", **plain}])
    assert not {"BUDGET", "RESTS"} & set(capsys.readouterr().out.split())
    soon = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    print_targets(
        [{"name": "a", **plain}, {"name": "b", **plain, "requests_per_second": 2.5, "rests_until": soon}]
    )
    header, without, limited = capsys.readouterr().out.splitlines()
    assert "BUDGET" in header
    assert "RESTS UNTIL" in header
    assert "2.5/s" in limited
    assert "in 3 h" in limited
    assert "/s" not in without
