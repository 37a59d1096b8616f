"""What pools.yaml says about a `knot` target, checked when it is loaded."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from backends.dns_options import SignedOptions


def _socket_path(path: str) -> str:
    if not path.startswith("/") or len(path.encode()) > 107:  # sockaddr_un
        raise ValueError(f"{path!r} is no absolute path of at most 107 bytes, as a socket's must be")
    return path


class KnotOptions(SignedOptions):
    """The `options` of a target of `type: knot`."""

    #: knotd's control socket as the worker sees it (`control: listen:` in its configuration).
    control_socket: Annotated[str, AfterValidator(_socket_path)] = "/run/knot/knot.sock"
    #: The template that new zones get; its `acl` must give our key query, transfer and update.
    template: str = Field(default="default", pattern=r"^[A-Za-z0-9_.-]+$")
