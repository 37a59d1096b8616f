"""What pools.yaml says about a `zonefile` target, checked when it is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from dnsworker.backend import Options

PLACEHOLDERS = ("zone", "file")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{str(path)!r} must be absolute: workers may run anywhere")
    return path


def _suffix(text: str) -> str:
    if not re.fullmatch(r"(?:\.[a-z0-9_-]{1,16}){0,2}", text):
        raise ValueError(f"{text!r} is no end of a file name such as .zone or .db")
    return text


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    if words and (not words[0].strip() or "{" in words[0]):
        raise ValueError("the first word of a command is a program")
    for word in words:
        if "\0" in word:
            raise ValueError("a word of a command contains a zero octet")
        unknown = set(re.findall(r"\{(\w*)\}", word)) - set(PLACEHOLDERS)
        if unknown:
            raise ValueError(f"{word!r}: there are {{zone}} and {{file}}, and no {{{min(unknown)}}}")
    return words


Command = Annotated[tuple[str, ...], AfterValidator(_command)]


class ZonefileOptions(Options):
    """The `options` of a target of `type: zonefile`."""

    #: Where the files are. It must be there; nothing makes it, since a missing mount would go unnoticed.
    folder: Annotated[Path, AfterValidator(_absolute)]
    #: What follows a zone's name in the name of its file.
    suffix: Annotated[str, AfterValidator(_suffix)] = ".zone"
    #: Run after a file was replaced or removed, word by word, without a shell; `{zone}` is the zone's name
    #: without the final dot, `{file}` the path of its file. Empty: nothing is run.
    reload_command: Command = ()
    #: Run before a file is put in its place, with the new file as `{file}`. Status 1 refuses the contents.
    check_command: Command = ()
    #: For either command. Keep it below the worker's lease.
    command_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
