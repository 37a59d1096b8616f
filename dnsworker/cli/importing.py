"""Where `zone import` takes a zone from: a file, any server by transfer, or a target of a pool.

Whatever isn't a file is judged here, record by record: a line number of a text that nobody has seen says
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from dnsworker import names, placement, zonefile
from dnsworker.addresses import Address
from dnsworker.cli.progress import Progress
from dnsworker.cli.session import Session
from dnsworker.comparison import SIGNER_TYPES
from dnsworker.contents import ZoneContents
from dnsworker.credentials import TsigKey
from dnsworker.errors import ConfigError, InvalidRecord, InvalidRequest, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.pools import Target, first_error
from dnsworker.records import RRset

if TYPE_CHECKING:
    import dns.tsig

#: Refusals that are told one by one.
MAX_TOLD = 5
#: A target may take longer for a whole zone than for a change.
READ_TIMEOUT_S = 30.0


def server_address(text: str) -> Address:
    """`192.0.2.1`, `ns1.example.net:5353`, `[2001:db8::1]:53`. Raises `click.BadParameter`."""
    host, port = text, "53"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        return Address(host=host, port=int(port))
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is no HOST or HOST:PORT", param_hint="--from-server") from exc


def tsig_key(name: str | None, secret_file: Path | None, algorithm: str) -> dns.tsig.Key | None:
    """The key to transfer with. Its secret comes from a file: others can see the command line."""
    if name is None and secret_file is None:
        return None
    if name is None or secret_file is None:
        raise click.UsageError("--tsig-key and --tsig-secret-file belong together")
    try:
        secret = secret_file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{secret_file} holds no base64") from exc
    try:
        key = TsigKey.model_validate({"name": name, "algorithm": algorithm, "secret": secret})
    except ValidationError as exc:
        where, reason = first_error(exc)
        if where[:1] == ("algorithm",):
            raise click.BadParameter(reason, param_hint="--tsig-algorithm") from None
        raise ConfigError(f"{secret_file}: {reason}") from None  # the cause may quote it
    return key.to_dnspython()


def from_server(server: Address, zone: Name, key: dns.tsig.Key | None, progress: Progress) -> ZoneContents:
    """Raises `BackendError`, `InvalidRecord`."""
    from dnsworker.transfer import fetch_zone

    def tell(records: int) -> None:
        progress.tell(f"{records:,} records from {server.address}")

    with progress.during(f"asking {server.address}"):
        contents = fetch_zone(server, zone, key, on_progress=tell)
    return judged(contents, f"the zone at {server.address}", progress)


def from_target(session: Session, name: str, zone: Name, progress: Progress) -> tuple[ZoneContents, str]:
    """The zone as the target has it, and the target's pool. Raises `BackendError`, `ConfigError`."""
    from dnsworker.store import pools as store

    with session.connection() as connection:
        pools = [known.pool for known in store.read(connection)]
    pool = next((one for one in pools if any(target.name == name for target in one.targets)), None)
    if pool is None:
        there = ", ".join(target.name for one in pools for target in one.targets) or "none"
        raise ConfigError(f"no target {name!r}; there are: {there}")
    with progress.during(f"reading from {name}"):
        contents = read_target(pool.target(name), zone)
    if contents is None:
        raise ZoneMissing(f"target {name} has no zone {zone}")
    return judged(contents, f"the zone at target {name}", progress), pool.name


def read_target(target: Target, zone: Name) -> ZoneContents | None:
    """The zone as the target has it, without what its signer made; None where it says that it hasn't got it.

    Raises `BackendError`, `ConfigError`.
    """
    from dnsworker.backend import load_backend
    from dnsworker.pools import build_options

    backend = load_backend(target.type)(target.name, build_options(target), timeout_s=READ_TIMEOUT_S)
    try:
        if not backend.capabilities.reads_back:
            raise Unsupported(f"a target of type {target.type} can't be read")
        contents = backend.read_zone(zone)
    finally:
        backend.close()
    if contents is None or backend.capabilities.signs == "no":
        return contents
    kept = {key: one for key, one in contents.rrsets.items() if key[1] not in SIGNER_TYPES}
    return ZoneContents(soa=contents.soa, rrsets=kept, name=zone)


def judged(contents: ZoneContents, where: str, progress: Progress) -> ZoneContents:
    """The contents, as we can hold them. Raises `InvalidRecord` with the records that we can't, and why."""
    accepted: dict[tuple[Name, str], RRset] = {}
    refusals: list[str] = []
    for count, found in enumerate(contents.rrsets.values()):
        if not count % 1000:
            progress.tell("checking the records", count / len(contents.rrsets))
        try:
            if not names.is_within(found.name, contents.name):
                raise InvalidRecord(f"{found.name} {found.type}: not in the zone {contents.name}")
            accepted[found.key] = RRset(found.name, found.type, found.ttl, found.data)
        except InvalidRequest as exc:
            about = f"{found.name} {found.type}"
            refusals.append(exc.message if about in exc.message else f"{about}: {exc.message}")
    if not refusals:
        whole = ZoneContents(soa=contents.soa, rrsets=accepted, name=contents.name)
        try:
            placement.check_placement([RRsetChange(None, one) for one in accepted.values()], whole)
        except InvalidRecord as exc:
            refusals.append(exc.message)
        else:
            return whole
    more = len(refusals) - MAX_TOLD
    raise InvalidRecord(
        f"{where} can't be taken over: "
        + "; ".join(refusals[:MAX_TOLD])
        + (f"; and {more} more" if more > 0 else "")
    )


def as_text(contents: ZoneContents, progress: Progress) -> str:
    """The contents as a submission carries them."""
    with progress.during("writing it down"):
        return zonefile.zone_text(contents)


def lines(text: str, progress: Progress) -> Iterator[str]:
    """The text in pieces, while it is told how much of it has been taken."""
    size = 1 << 16
    for start in range(0, len(text), size):
        progress.tell("writing", start / len(text))
        yield text[start : start + size]
