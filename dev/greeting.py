"""What somebody needs to know who has started the stack: where everything is, and what to type.

Separate because it is for people: tests ask the `Stack` itself.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dev.stack import Stack


def settings_of(stack: Stack) -> str:
    """For a shell to read (`. FILE`): the system's settings, our commands, and where the nameservers are."""
    values = {name: value for name, value in stack.env.items() if name.startswith("DNSWORKER_")}
    values |= {"BIND_PORT": str(stack.bind.port), "POWERDNS_PORT": str(stack.powerdns.port)}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    commands = shlex.quote(str(Path(sys.executable).parent))
    return "\n".join([*lines, f'export PATH={commands}:"$PATH"', ""])


@contextmanager
def settings_at(path: Path, text: str) -> Iterator[None]:
    """There are passwords in it: for the owner alone, and only for as long as the stack runs."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(text)
    try:
        yield
    finally:
        # Another stack of this checkout may have its own there by now.
        if path.exists() and path.read_text() == text:
            path.unlink()


def of(stack: Stack, settings: Path) -> str:
    """On the terminal in which it runs."""
    shown = settings.relative_to(Path.cwd()) if settings.is_relative_to(Path.cwd()) else settings
    lines = [
        "",
        f"BIND         {stack.bind.address} port {stack.bind.port}",
        f"PowerDNS     {stack.powerdns.address} port {stack.powerdns.port}",
        *([f"Status page  {stack.dashboard_url}"] if stack.dashboard_url else []),
        *([f"Flower       {stack.flower_url}"] if stack.flower_url else []),
        f"logs         {stack.folder}",
        "",
        "The addresses of the pages carry their logins: http://USER:PASSWORD@…",
        "In another terminal, in the same folder:",
        f"  . {shown}",
        "  dnsworker zone create example.org --email hostmaster@example.org",
        "  dnsworker record create example.org www A 192.0.2.1",
        f'  dig @{stack.bind.address} -p "$BIND_PORT" www.example.org +short',
        "Ctrl-C stops everything.",
    ]
    return "\n".join(lines)
