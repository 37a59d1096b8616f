"""How the program ends: exit codes, and one line for whatever went wrong.

Separate from the commands, which only raise.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from dnsworker.errors import (
    DNSWorkerError,
    InvalidName,
    InvalidRecord,
    InvalidRequest,
    InvalidZoneFile,
)

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
#: Libraries whose errors mean that a server didn't answer as hoped, not that this program is wrong.
SERVICES = {
    "sqlalchemy": "database",
    "kombu": "broker",
    "amqp": "broker",
    "redis": "Redis",
    "celery": "broker",
}
#: Names of the errors by which their libraries say so (compared by name: nothing is imported for it).
AWAY = ("OperationalError", "InterfaceError", "TimeoutError", "ConnectionError", "AuthenticationError",
        "AccessRefused", "NotAllowed", "ResponseError")  # fmt: skip
#: What the wheel alone doesn't bring, and the extra that does: a submitting service needs no database.
EXTRAS = {
    "sqlalchemy": "worker", "alembic": "worker", "psycopg2": "worker", "httpx": "worker",
    "anyio": "dashboard", "jinja2": "dashboard", "starlette": "dashboard", "uvicorn": "dashboard",
}  # fmt: skip


class Group(click.Group):
    """A group that guesses what a mistyped command was meant to be."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.list_commands(ctx))}"
            )
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of the code, which is the order of use


class Program(Group):
    """The outermost group."""

    group_class = Group

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run, and exit with 0 done, 1 failed, 2 usage, 130 interrupted."""
        sys.exit(self._run(args, prog_name or "dnsworker", complete_var, extra))

    def _run(
        self, args: Sequence[str] | None, prog_name: str, complete_var: str | None, extra: dict[str, Any]
    ) -> int:
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as exc:
            exc.show()
            return USAGE
        except click.UsageError as exc:
            where = exc.ctx.command_path if exc.ctx else prog_name
            return _complain(f"{where}: {exc.format_message()} (see {where} --help)", USAGE)
        except click.ClickException as exc:
            return _complain(f"{prog_name}: {exc.format_message()}", FAILED)
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except DNSWorkerError as exc:
            return _complain(f"{prog_name}: {exc.code}: {exc.message}", _exit_code(exc))
        except ModuleNotFoundError as exc:
            if exc.name not in EXTRAS:
                raise  # a mistake of ours
            remedy = f"pip install 'dnsworker[{EXTRAS[exc.name]}]'"
            return _complain(f"{prog_name}: this needs {exc.name}: {remedy}", FAILED)
        except OSError as exc:
            return _complain(f"{prog_name}: {_os_error(exc)}", FAILED)
        except Exception as exc:
            service = SERVICES.get(type(exc).__module__.partition(".")[0])
            if service is None or type(exc).__name__ not in AWAY:
                raise  # a mistake of ours: the trace is wanted
            return _complain(f"{prog_name}: {service}: {_reason(exc)}", FAILED)
        return code if isinstance(code, int) else DONE


def _exit_code(error: DNSWorkerError) -> int:
    """2 when the words on the command line can't be right, whatever the state of the system."""
    is_usage = (
        isinstance(error, InvalidName | InvalidRecord | InvalidZoneFile) or type(error) is InvalidRequest
    )
    return USAGE if is_usage else FAILED


def _complain(text: str, code: int) -> int:
    click.echo(" ".join(text.split()), err=True)
    return code


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error or type(error).__name__}"


def _reason(error: Exception) -> str:
    """The first line of what the driver said; SQLAlchemy wraps it and adds the statement's parameters."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__
