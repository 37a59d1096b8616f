"""dnsworker: DNS changes as Celery tasks; pushed, verified and remembered."""

from __future__ import annotations

from dnsworker.client import AsyncClient, Client, Operation
from dnsworker.errors import DNSWorkerError, OperationFailed, SubmissionFailed, WaitTimeout
from dnsworker.operations import Change, Outcome, Status
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
    "Status",
    # Errors (all others: dnsworker.errors)
    "DNSWorkerError",
    "OperationFailed",
    "SubmissionFailed",
    "WaitTimeout",
]
