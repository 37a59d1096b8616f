"""The suite as one class, put together from groups of cases."""

from __future__ import annotations

from dnsworker.testing.contents_cases import ContentsCases
from dnsworker.testing.failure_cases import FailureCases
from dnsworker.testing.shared_cases import SharedCases
from dnsworker.testing.zone_cases import ZoneCases


class BackendConformance(ContentsCases, ZoneCases, FailureCases, SharedCases):
    """Subclass it under a name that begins with `Test`, next to a fixture `server`.

    After each case the server is restarted; contents and SOA must still be there.
    """
