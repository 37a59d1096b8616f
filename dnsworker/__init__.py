"""dnsworker: DNS changes as Celery tasks; pushed, verified and remembered."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnsworker.client import AsyncClient, Client, Operation
    from dnsworker.errors import DNSWorkerError, OperationFailed, SubmissionFailed, WaitTimeout
    from dnsworker.operations import Change, Outcome, Preview, Status
    from dnsworker.records import RRset

__all__ = [  # noqa: RUF022 - grouped, to be read as a table of contents
    # Submitting
    "Client",
    "AsyncClient",
    "Change",
    "RRset",
    # What comes of it
    "Operation",
    "Outcome",
    "Preview",
    "Status",
    # Errors (all others: dnsworker.errors)
    "DNSWorkerError",
    "OperationFailed",
    "SubmissionFailed",
    "WaitTimeout",
]

#: Loaded at first use (PEP 562): who only runs `dnsworker --help` waits for no client.
_HOMES = {
    "dnsworker.client": ("AsyncClient", "Client", "Operation"),
    "dnsworker.errors": ("DNSWorkerError", "OperationFailed", "SubmissionFailed", "WaitTimeout"),
    "dnsworker.operations": ("Change", "Outcome", "Preview", "Status"),
    "dnsworker.records": ("RRset",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(importlib.import_module(module), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
