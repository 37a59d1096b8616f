"""What other services import: `Client`, `AsyncClient`, and the `Operation` that they return."""

from __future__ import annotations

from dnsworker.client.asynchronous import AsyncClient, AsyncOperation
from dnsworker.client.client import Client
from dnsworker.client.operation import Operation

__all__ = ["AsyncClient", "AsyncOperation", "Client", "Operation"]
