"""`dnsworker completion`: the line that gives a shell tab completion (click's own)."""

from __future__ import annotations

import os
from pathlib import PurePath

import click

from dnsworker.cli import output
from dnsworker.cli.session import Session, with_session

SHELLS = ("bash", "zsh", "fish")
#: Where to add what.
LINES = {
    "bash": ("~/.bashrc", 'eval "$(_DNSWORKER_COMPLETE=bash_source dnsworker)"'),
    "zsh": ("~/.zshrc", 'eval "$(_DNSWORKER_COMPLETE=zsh_source dnsworker)"'),
    "fish": (
        "~/.config/fish/completions/dnsworker.fish",
        "_DNSWORKER_COMPLETE=fish_source dnsworker | source",
    ),
}


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@with_session
def completion(session: Session, shell: str | None) -> None:
    """Print the line that adds tab completion."""
    chosen = shell or PurePath(os.environ.get("SHELL", "")).name
    if chosen not in LINES:
        raise click.UsageError(f"which shell? Give one of {', '.join(SHELLS)}")
    file, line = LINES[chosen]
    if session.as_json:
        output.print_json({"shell": chosen, "file": file, "line": line})
    else:
        output.say(f"# add to {file}:", err=True)
        output.say(line)
