"""Commands that change something: their common options, waiting for the outcome, and telling it.

Separate so that `zone`, `record` and `operation` say the same thing the same way.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dnsworker.cli import output
from dnsworker.cli.previewing import tell_preview
from dnsworker.cli.program import DONE, FAILED
from dnsworker.cli.progress import CLEAR, MAX_LINE, bar
from dnsworker.cli.session import Session, with_session
from dnsworker.errors import NoAnswer, OperationFailed, WaitTimeout

if TYPE_CHECKING:
    from dnsworker.client import Operation
    from dnsworker.operations import Outcome

R = TypeVar("R")

DEFAULT_TIMEOUT_S = 60.0
#: How often the progress line is drawn while waiting on a terminal.
PROGRESS_INTERVAL_S = 0.5
#: After this long without a worker, the people who wait are told.
HINT_AFTER_S = 3.0
NOBODY = "no worker has taken it in yet"


@dataclass(frozen=True, slots=True)
class Wish:
    """The options that every change has."""

    pool: str | None
    force: bool
    comment: str | None
    no_wait: bool
    timeout_s: float
    dry_run: bool

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Keyword arguments for the client; what wasn't given is left to its defaults."""
        flags = {"force": self.force or None, "dry_run": self.dry_run or None}
        given = {"pool": self.pool, "comment": self.comment, **more, **flags}
        return {name: value for name, value in given.items() if value is not None}


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Only say what would be changed, or why it would be refused."
)


def changing(timeout_s: float) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Gives a command the options of a change, and passes it a `Session` and a `Wish`."""

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        @click.option("--pool", help="The pool, where several hold the zone.")
        @click.option("--force", is_flag=True, help="Let a change pass that the guard refuses.")
        @click.option("--comment", help="Kept with the operation, for the history.")
        @dry_run_option
        @waiting(timeout_s)
        @with_session
        @functools.wraps(function)
        def run(session: Session, /, *args: Any, **kwargs: Any) -> R:
            given: dict[str, Any] = {
                name: kwargs.pop(name) for name in ("pool", "force", "comment", "dry_run")
            }
            no_wait, patience_s = bool(kwargs.pop("no_wait")), float(kwargs.pop("timeout_s"))
            return function(session, Wish(no_wait=no_wait, timeout_s=patience_s, **given), *args, **kwargs)

        return run

    return decorate


def waiting(timeout_s: float) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """`--no-wait` and `--timeout`."""

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        function = click.option("--no-wait", is_flag=True, help="Return as soon as it is safely submitted.")(
            function
        )
        return timeout_option(timeout_s)(function)

    return decorate


def timeout_option(timeout_s: float = DEFAULT_TIMEOUT_S) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """`--timeout`, with its default."""
    return click.option(
        "--timeout", "timeout_s", type=click.FloatRange(min=0, max=86400), default=timeout_s,
        show_default=True, metavar="SECONDS", help="How long to wait for the outcome.",
    )  # fmt: skip


changes = changing(DEFAULT_TIMEOUT_S)
#: For what may be 100,000 records.
changes_at_length = changing(10 * DEFAULT_TIMEOUT_S)


def carry_out(
    session: Session,
    subject: str,
    submit: Callable[[], Operation],
    *,
    no_wait: bool,
    timeout_s: float,
    hint_after_s: float = HINT_AFTER_S,
) -> None:
    """Submit, wait, tell; ends the program with 1 unless it succeeded (or nobody waits).

    An operation that no worker has taken in after `hint_after_s` makes us ask whether there is one. Of a dry
    run it tells what was foreseen.
    """
    # A dry run's answer is the outcome, and may be as long in coming.
    session.answer_timeout_s = session.answer_timeout_s or (timeout_s if is_dry_run() else None)
    _ = session.client  # its imports and connections aren't the operation's time
    begun = time.monotonic()
    operation = submit()
    if operation.preview is not None:
        click.get_current_context().exit(tell_preview(session, subject, operation.preview))
    if no_wait:
        if session.as_json:
            output.print_json({"id": operation.id, "status": "PENDING"})
        else:
            output.say(f"{subject}  submitted as {operation.id}")
        return
    wait_and_tell(session, subject, operation, timeout_s=timeout_s, begun=begun, hint_after_s=hint_after_s)


def is_dry_run() -> bool:
    """Whether the command that runs was given `--dry-run`."""
    return bool(click.get_current_context().params.get("dry_run"))


def wait_and_tell(
    session: Session,
    subject: str,
    operation: Operation,
    *,
    timeout_s: float,
    begun: float | None = None,
    hint_after_s: float = HINT_AFTER_S,
) -> None:
    """Wait for the operation's end and say how it ended."""
    begun = time.monotonic() if begun is None else begun
    try:
        outcome = _wait(session, subject, operation, timeout_s, hint_after_s)
    except OperationFailed as exc:
        outcome = exc.outcome if exc.outcome is not None else operation.outcome()
    except WaitTimeout as exc:
        outcome = exc.outcome if exc.outcome is not None else operation.outcome()
    except KeyboardInterrupt:
        output.say(f"not waiting any longer; `dnsworker operation wait {operation.id}` goes on", err=True)
        raise
    tell(session, subject, as_outcome(outcome), time.monotonic() - begun)


def tell(session: Session, subject: str, outcome: Outcome, elapsed_s: float) -> None:
    """The outcome in one line, with the reasons below where it isn't an end; ends the program."""
    code = DONE if outcome.status.has_succeeded else FAILED
    if session.as_json:
        output.print_json({**outcome.model_dump(mode="json"), "elapsed_s": round(elapsed_s, 4)})
        click.get_current_context().exit(code)
    serial = f" (serial {outcome.serial})" if outcome.serial is not None else ""
    word = output.status_word(str(outcome.status))
    took = output.duration(elapsed_s)
    if outcome.status.has_succeeded:
        output.say(f"{subject}  {word} in {took}{serial}")
    elif outcome.status.is_final:
        because = ": ".join(part for part in (outcome.code, outcome.message) if part)
        output.say(f"{subject}  {word} after {took}: {because}", err=True)
    else:
        nobody = NOBODY if outcome.status == "PENDING" else ""
        reason = f": {outcome.message or nobody}".rstrip(": ")
        output.say(f"{subject}  still {word} after {took}{serial}{reason}", err=True)
        for line in unfinished(outcome):
            output.say(f"  {line}", err=True)
        output.say(f"It goes on; wait with `dnsworker operation wait {outcome.id}`.", err=True)
    click.get_current_context().exit(code)


def unfinished(outcome: Outcome) -> Iterator[str]:
    """A line for each target and nameserver that isn't there yet: why, and what comes next."""
    for target in outcome.targets:
        if not target.is_current:
            attempts = f" (attempt {target.attempts})" if target.attempts else ""
            due = output.ago(target.next_attempt_at)
            again = "" if due is None else f"; next attempt {due if due.startswith('in') else 'now'}"
            yield f"{target.target}: {target.last_error or target.state}{attempts}{again}"
        for refused in target.withheld:
            yield f"{target.target} refuses {refused.get('name')} {refused.get('type')}: {_words(refused)}"
    for server in outcome.nameservers:
        if not server.is_current:
            seen = "no answer yet" if server.serial is None else f"answers with serial {server.serial}"
            yield f"{server.nameserver}: {server.error or seen}"


def as_outcome(value: Any) -> Outcome:
    """An outcome that may have come as JSON."""
    from dnsworker.operations import Outcome

    return value if isinstance(value, Outcome) else Outcome.model_validate(value)


def _wait(
    session: Session, subject: str, operation: Operation, timeout_s: float, hint_after_s: float
) -> Outcome:
    """In one go; but people hear early that nobody works, and see on a terminal how far it is."""
    if session.as_json:
        return operation.wait(timeout=timeout_s)
    if sys.stderr.isatty():
        try:
            return _watch(subject, operation, timeout_s, hint_after_s)
        finally:
            click.echo(CLEAR, err=True, nl=False)
    if timeout_s <= hint_after_s:
        return operation.wait(timeout=timeout_s)
    try:
        return operation.wait(timeout=hint_after_s)
    except WaitTimeout as exc:
        if _is_untaken(operation, exc.outcome):
            output.say(f"{NOBODY}; is `dnsworker up` or a worker running?", err=True)
    return operation.wait(timeout=timeout_s - hint_after_s)


def _is_untaken(operation: Operation, outcome: Outcome | None) -> bool:
    try:
        return (outcome or operation.outcome()).status == "PENDING"
    except NoAnswer:
        return True


def _watch(subject: str, operation: Operation, timeout_s: float, hint_after_s: float) -> Outcome:
    begun = time.monotonic()
    while True:
        left = timeout_s - (time.monotonic() - begun)
        try:
            return operation.wait(timeout=max(min(left, PROGRESS_INTERVAL_S), 0.01))
        except WaitTimeout as exc:
            if left <= PROGRESS_INTERVAL_S:
                raise
            line = progress_line(subject, exc.outcome, time.monotonic() - begun, hint_after_s)
        click.echo(f"{CLEAR}{line[:MAX_LINE]}", err=True, nl=False)


def progress_line(
    subject: str, outcome: Outcome | None, elapsed_s: float, hint_after_s: float = HINT_AFTER_S
) -> str:
    """`example.org.  [######----]  ACCEPTED  2 of 3 servers  4 s`."""
    if outcome is None or outcome.status == "PENDING":
        nobody = f"  {NOBODY}" if elapsed_s > hint_after_s else ""
        return f"{subject}  {bar(0)}  PENDING  {output.duration(elapsed_s)}{nobody}"
    servers = [target.is_current for target in outcome.targets]
    servers += [server.is_current for server in outcome.nameservers]
    # taken in is the first step, each target and nameserver one more
    done = (outcome.serial is not None) + sum(servers)
    count = f"{sum(servers)} of {len(servers)} servers  " if servers else ""
    return (
        f"{subject}  {bar(done / (1 + len(servers)))}  {outcome.status}  {count}{output.duration(elapsed_s)}"
    )


def _words(refused: dict[str, Any]) -> str:
    return str(refused.get("reason") or refused.get("message") or "no reason given")
