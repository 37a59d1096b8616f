"""Zones in knotd's configuration: found, added and removed over the control socket.

Separate from the backend, because no other server has this part. Knot keeps what is changed here only when it
runs from a configuration database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backends.knot import transaction
from backends.knot.control import CommandFailed, ControlSocket, Session
from dnsworker.contents import ZoneContents
from dnsworker.errors import Busy, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan

#: In the configuration of the zones that we add; an empty zone without it is one that Knot failed to load.
COMMENT = "added by dnsworker"
LOOK_AGAIN_S = 0.01

_ABSENT = ("no such zone found", "invalid identifier")


@dataclass(frozen=True, slots=True)
class Standing:
    """What knotd says of a zone that it has."""

    #: It stands in the configuration by its own name (and isn't a member of a catalog).
    is_configured: bool
    is_ours: bool
    is_secondary: bool
    #: It has contents.
    is_loaded: bool
    #: Knot is about to load it, or to do something else with it.
    is_loading: bool


class ConfiguredZones:
    """What the control socket can do for zones, in the words of `dnsworker.errors`."""

    def __init__(
        self, control: ControlSocket, template: str, renew: Callable[[], None], timeout_s: float
    ) -> None:
        """`renew` renews the claim; the requests are announced by `control`."""
        self._control = control
        self._template = template
        self._renew = renew
        self._timeout_s = timeout_s

    def find(self, zone: Name) -> Standing | None:
        """None when knotd positively has no such zone."""
        with self._control.session() as session:
            return _standing(session, zone)

    def version(self) -> str:
        with self._control.session() as session:
            (unit,) = session.run("status", type="version")
            return unit["data"].removeprefix("Version: ")

    def trouble_with_key(self, name: str, algorithm: str, secret: str) -> str | None:
        """What knotd's configuration has against our key or template; None: nothing."""
        with self._control.session() as session:
            key = _read(session, "key", name)
            if key is None:
                return f"knotd has no key {name!r}"
            if key.get("algorithm") != algorithm:
                return f"the key {name!r} is {key.get('algorithm')} at knotd, and {algorithm} here"
            if key.get("secret") != secret:
                return f"knotd has another secret for the key {name!r}"
            if _read(session, "template", self._template) is None:
                return f"knotd has no template {self._template!r}"
        return None

    def add(self, zone: Name) -> None:
        """Add a zone without contents: nobody is answered from it yet."""
        with self._control.session() as session:
            # What Knot kept of an earlier zone of this name would be served as soon as the zone is back.
            self._run(session, "zone-purge", flags="F", filters="o", zone=zone)
            self._renew()
            settings = [{}, {"item": "comment", "data": COMMENT}]
            if self._template != "default":
                settings.append({"item": "template", "data": self._template})
            with self._configuration(session):
                # Sent at once, so that a transaction left over by a dead worker has the comment or nothing.
                session.run_all(
                    [{"command": "conf-set", "section": "zone", "id": zone, **each} for each in settings]
                )
            self._wait_until_loaded(session, zone)

    def fill(self, contents: ZoneContents) -> None:
        with self._control.session() as session:
            transaction.fill(session, contents, self._renew)

    def apply(self, plan: Plan) -> None:
        with self._control.session() as session:
            transaction.apply(session, plan, self._renew)

    def empty(self, zone: Name) -> None:
        """Take a zone's contents, journal and file away; it stays in the configuration."""
        with self._control.session() as session:
            self._run(session, "zone-purge", flags="FB", zone=zone)

    def remove(self, zone: Name) -> None:
        """Remove the zone and what Knot keeps of it; no error when it is absent."""
        with self._control.session() as session:
            standing = _standing(session, zone)
            if standing is None:
                return
            if not standing.is_configured:
                raise Unsupported(f"{zone} is at knotd by a catalog zone: remove it there", zone=zone)
            # First, while Knot still knows where its file is; if it ends here, the zone is ours and empty.
            self._run(session, "zone-purge", flags="FB", zone=zone)
            self._renew()
            with self._configuration(session):
                session.run("conf-unset", section="zone", id=zone)
            if _standing(session, zone) is not None:
                raise Busy(f"knotd still has {zone} after it was removed", zone=zone)

    def notify(self, zone: Name) -> None:
        """Have the remotes of the zone's `notify` told."""
        with self._control.session() as session:
            if _standing(session, zone) is None:
                raise ZoneMissing(f"knotd has no zone {zone}", zone=zone)
            self._run(session, "zone-notify", zone=zone)

    @contextmanager
    def _configuration(self, session: Session) -> Iterator[None]:
        """A transaction of the configuration, committed at the end."""
        self._begin(session)
        try:
            yield
            session.commit("conf-commit")
        except CommandFailed as exc:
            self._run(session, "conf-abort")
            raise Unsupported(f"knotd refuses the change of its configuration: {exc}") from exc

    def _begin(self, session: Session) -> None:
        try:
            session.run("conf-begin")
        except CommandFailed as exc:
            if exc.text != "too many transactions":
                raise ServerFailure(f"knotd begins no transaction of its configuration: {exc}") from exc
            # It outlives its connection, and no other connection is being served now.
            if not _is_left_over(session):
                raise Busy(
                    "somebody else has a transaction of knotd's configuration open: "
                    "`knotc conf-diff`, then conf-commit or conf-abort"
                ) from exc
            self._run(session, "conf-abort")
            self._run(session, "conf-begin")

    def _wait_until_loaded(self, session: Session, zone: Name) -> None:
        """A zone that is new in the configuration is looked for on disk first; that comes to nothing."""
        deadline = time.monotonic() + self._timeout_s
        while (standing := _standing(session, zone)) is None or standing.is_loading:
            if time.monotonic() > deadline:
                raise Busy(f"knotd is still loading {zone}", zone=zone)
            time.sleep(LOOK_AGAIN_S)

    def _run(self, session: Session, command: str, **items: str) -> list[dict[str, str]]:
        try:
            return [dict(unit) for unit in session.commit(command, **items)]
        except CommandFailed as exc:
            raise ServerFailure(f"knotd fails at {command} {items.get('zone', '')}: {exc}") from exc


def _standing(session: Session, zone: Name) -> Standing | None:
    configured = _read(session, "zone", zone)
    try:
        units = session.run("zone-status", zone=zone)
    except CommandFailed as exc:
        if exc.text in _ABSENT:
            return None
        raise ServerFailure(f"knotd tells no status of {zone}: {exc}", zone=zone) from exc
    status = {unit["type"]: unit["data"] for unit in units if "type" in unit}
    return Standing(
        is_configured=configured is not None,
        is_ours=configured is not None and configured.get("comment") == COMMENT,
        is_secondary=status.get("role") == "slave",
        is_loaded=status.get("serial", "-")[:1].isdigit(),
        is_loading=status.get("load", "-") != "-",
    )


def _read(session: Session, section: str, identifier: str) -> dict[str, str] | None:
    """One entry of the configuration; None when it isn't there. Of an item with several values the last."""
    try:
        units = session.run("conf-read", section=section, id=identifier)
    except CommandFailed as exc:
        if exc.text in _ABSENT:
            return None
        raise ServerFailure(f"knotd doesn't show {section}[{identifier}]: {exc}") from exc
    return {unit["item"]: unit.get("data", "") for unit in units if "item" in unit}


def _is_left_over(session: Session) -> bool:
    """Whether the open transaction of the configuration is a dead worker's, or has nothing in it."""
    try:
        changes = session.run("conf-diff")
    except CommandFailed:  # none is open; Knot 3.5 begins none while a zone has one
        return False
    zones = {each["data"] for each in changes if each.get("item") == "domain"}
    return not changes or (
        len(zones) == 1
        and all(each.get("section") == "zone" for each in changes)
        and any(each.get("item") == "comment" and each.get("data") == COMMENT for each in changes)
    )
