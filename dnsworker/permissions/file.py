"""permissions.yaml: YAML into permissions, with the line of whatever is wrong; and the file's changes.

Separate from the judgement, which is pure.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from dnsworker import yamlfile
from dnsworker.errors import ConfigError
from dnsworker.permissions.permissions import ANONYMOUS, EVERYBODY, Default, Permissions, Placed
from dnsworker.permissions.rule import Rule
from dnsworker.pools import first_error, path_text

log = logging.getLogger(__name__)

#: How often the file is looked at, at most.
LOOK_EVERY_S = 1.0


def _rules(value: Any) -> Any:
    if value is None:
        return []  # a user who may do nothing
    if not isinstance(value, list):
        raise ValueError("a list of rules is expected: '- may: …' and so on")
    return value


Rules = Annotated[list[Rule], BeforeValidator(_rules)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    default: Default
    users: dict[str, Rules] = {}
    anonymous: Rules = []
    everybody: Rules = []


def load(source: Path | str) -> Permissions:
    """The permissions of a file, or of a text of more than one line. Raises `ConfigError`:
    `permissions.yaml:12: users.shop[0].may: 'write' is none of: …`.
    """
    is_text = isinstance(source, str) and "\n" in source
    file = "permissions.yaml" if is_text else str(source)
    document = yamlfile.Document(str(source) if is_text else yamlfile.read(Path(source)), file)
    raw = document.raw
    if not isinstance(raw, dict):
        raise document.error((), "a mapping is expected: 'default: closed', 'users: …'")
    users = raw.get("users")
    for user in users if isinstance(users, dict) else ():
        if not isinstance(user, str) or not user:
            raise document.error(("users",), f"a user's name is text: write {str(user)!r}, in quotes")
    try:
        parsed = _File.model_validate(raw)
    except ValidationError as exc:
        where, reason = first_error(exc)
        raise document.error(where, f"{path_text(where)}: {reason}" if where else reason) from exc

    def placed(rules: Sequence[Rule], whose: str, *where: str) -> list[Placed]:
        return [
            Placed(rule, whose, number + 1, document.line((*where, number)))
            for number, rule in enumerate(rules)
        ]

    return Permissions(
        parsed.default,
        {user: placed(rules, user, "users", user) for user, rules in parsed.users.items()},
        placed(parsed.anonymous, ANONYMOUS, ANONYMOUS),
        placed(parsed.everybody, EVERYBODY, EVERYBODY),
    )


class PermissionsFile:
    """The permissions that a process goes by; a changed file is taken up within `LOOK_EVERY_S`.

    One that can't be used any more changes nothing: what was read last holds until it is mended.
    """

    def __init__(self, path: Path | None) -> None:
        """None: there is no file, and everybody may do everything. Raises `ConfigError`."""
        self._path = path
        self._lock = threading.Lock()
        self._seen = None if path is None else _signature(path)
        self._permissions = Permissions.unlimited() if path is None else load(path)
        self._look_at = time.monotonic() + LOOK_EVERY_S

    def current(self) -> Permissions:
        """Cheap; waits for no other thread that is reading the file."""
        is_due = self._path is not None and time.monotonic() >= self._look_at
        if is_due and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._permissions

    def _look(self) -> None:
        assert self._path is not None
        path, self._look_at = self._path, time.monotonic() + LOOK_EVERY_S
        signature = _signature(path)
        if signature == self._seen:
            return
        # Noted before it is read: what is written meanwhile is another signature at the next look.
        self._seen = signature
        try:
            self._permissions = load(path)
        except ConfigError as exc:
            log.error("permissions stay as they were: %s", exc.message)
        else:
            log.warning("permissions are taken from %s anew", path)

    def say(self) -> None:
        """One line at the start, where anybody may do more than an operator may think."""
        if self._path is None:
            log.warning(
                "whoever may submit may change every zone: set DNSWORKER_PERMISSIONS to a permissions.yaml"
            )
        elif self._permissions.default == "open":
            log.warning("default: open in %s: users that it doesn't name may do everything", self._path)


def _signature(path: Path) -> tuple[int, ...] | None:
    """Differs when the file was written or replaced; None: it isn't there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
