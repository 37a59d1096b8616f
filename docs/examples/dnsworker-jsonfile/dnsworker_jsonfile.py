"""A dnsworker backend that keeps each zone in a JSON file: small enough to be read, whole enough to pass.

The files stand for whatever your server or provider is. Everything is imported from `dnsworker`, nothing from
the folders of its checkout.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.errors import AuthenticationFailed, ServerFailure, Unreachable, ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, RRset


class JsonFileOptions(Options):
    """What stands under `options` of the target in pools.yaml."""

    #: Where the files are; the folder must be there.
    folder: Path


class JsonFileBackend(Backend):
    """One folder. A file is replaced whole, so whoever reads it sees the zone before or after a change."""

    capabilities = Capabilities(atomic="message", creates_zones=True, hides_new_zones=True, fencing="server")
    options_model = JsonFileOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, JsonFileOptions)
        self._folder = options.folder

    def read_zone(self, zone: Name) -> ZoneContents | None:
        with translate_errors(self._folder):
            try:
                document = json.loads(self._path(zone).read_text("utf-8"))
            except FileNotFoundError:
                if not self._folder.is_dir():  # then nobody can say that the zone isn't there
                    raise
                return None
        return _from_json(zone, document)

    def create_zone(self, zone: ZoneContents) -> None:
        with translate_errors(self._folder), self._lock():
            self._write(zone)

    def apply(self, plan: Plan) -> Receipt:
        with translate_errors(self._folder), self._lock():
            current = self.read_zone(plan.zone)
            if current is None:
                raise ZoneMissing(f"there is no file for {plan.zone}", zone=plan.zone)
            if current.soa != plan.current_soa:  # the fence: somebody else was here
                raise ZoneChanged(f"{plan.zone} is at serial {current.soa.serial}", zone=plan.zone)
            rrsets = dict(current.rrsets)
            for change in plan.changes:
                rrsets.pop(change.key, None)
                if change.after is not None:
                    rrsets[change.key] = change.after
            self._write(ZoneContents(soa=plan.desired_soa, rrsets=rrsets, name=plan.zone))
        return Receipt(soa=plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        with translate_errors(self._folder), self._lock():
            self._path(zone).unlink(missing_ok=True)

    def check(self) -> Health:
        if os.access(self._folder, os.R_OK | os.W_OK | os.X_OK) and self._folder.is_dir():
            return Health(True, f"files in {self._folder}")
        return Health(False, f"can't read and write in {self._folder}: make the folder, or change its owner")

    def _path(self, zone: Name) -> Path:
        return self._folder / f"{zone.replace('/', '%2f')}json"

    def _write(self, zone: ZoneContents) -> None:
        temporary = self._path(zone.name).with_suffix(".part")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(_to_json(zone), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(zone.name))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextmanager
def translate_errors(folder: Path) -> Iterator[None]:
    """The system's errors in dnsworker's words: the one place that decides what to try again."""
    try:
        yield
    except PermissionError as exc:
        raise AuthenticationFailed(f"{folder}: {exc.strerror}") from exc
    except OSError as exc:
        raise Unreachable(f"{folder}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ServerFailure(f"a zone's file in {folder} is not JSON: {exc}") from exc


def _to_json(zone: ZoneContents) -> dict[str, Any]:
    return {
        "soa": {"ttl": zone.soa.ttl, "data": zone.soa.rdata},
        "rrsets": [rrset.to_json() for rrset in zone.rrsets.values()],
    }


def _from_json(zone: Name, document: Any) -> ZoneContents:
    soa = SOA.from_rdata(document["soa"]["data"], document["soa"]["ttl"])
    rrsets = [
        RRset.trusted(Name(one["name"]), one["type"], one["ttl"], tuple(one["data"]))
        for one in document["rrsets"]
    ]
    return ZoneContents.of(zone, soa, rrsets)
