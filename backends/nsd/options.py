"""What pools.yaml says about an `nsd` target, checked when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from dnsworker.backend import Options
from dnsworker.credentials import TsigKey


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{str(path)!r} must be absolute: workers may run anywhere")
    return path


File = Annotated[Path, AfterValidator(_absolute)]
Port = Annotated[int, Field(ge=1, le=65535)]


class NsdOptions(Options):
    """The `options` of a target of `type: nsd`. The files are named as in nsd.conf."""

    #: Where NSD answers queries and transfers.
    host: str
    port: Port = 53
    #: Where its `remote-control` listens; the host is `host` unless given.
    control_host: str | None = None
    control_port: Port = 8952
    #: What the server's certificate must be, or be signed by.
    server_cert_file: File
    #: Ours, signed by the server's, and its key; without a passphrase.
    control_cert_file: File
    control_key_file: File
    #: The pattern of nsd.conf that new zones get; it names the primaries (`request-xfr`).
    pattern: Annotated[str, Field(pattern=r"^[!-~]+$")]
    #: The key that `provide-xfr` of the pattern asks for; None: it says NOKEY.
    tsig_key: TsigKey | None = None
