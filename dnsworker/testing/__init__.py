"""The conformance suite for backends: subclass `BackendConformance` in your tests, give it your server.

    @pytest.fixture(scope="module")
    def server() -> Iterator[ServerUnderTest]:
        yield MyServer(…)

    class TestMine(BackendConformance):
        backend_class = MyBackend
        without = frozenset({"wipe"})  # what MyServer can't do, and why

Cases that the declarations rule out, `without` and the backend's capabilities, are not collected.
Needs pytest (`pip install dnsworker[testing]`); nothing else in dnsworker imports this package.
"""

import pytest

# Before the modules are imported, so that their asserts explain themselves in a third party's run too.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "lab",
            "contents_cases",
            "zone_cases",
            "failure_cases",
            "shared_cases",
            "request_cases",
        )
    )
)

from dnsworker.testing.conformance import BackendConformance  # noqa: E402
from dnsworker.testing.counting import CountingProxy, dns_requests, http_requests, rndc_requests  # noqa: E402
from dnsworker.testing.lab import Lab, converge  # noqa: E402
from dnsworker.testing.primary import Fed, Primary  # noqa: E402
from dnsworker.testing.provisioned import Provisioned  # noqa: E402
from dnsworker.testing.proxy import Proxy  # noqa: E402
from dnsworker.testing.request_cases import RequestCases  # noqa: E402
from dnsworker.testing.samples import SAMPLES, Sample  # noqa: E402
from dnsworker.testing.server import ServerUnderTest  # noqa: E402

__all__ = [
    "SAMPLES",
    "BackendConformance",
    "CountingProxy",
    "Fed",
    "Lab",
    "Primary",
    "Provisioned",
    "Proxy",
    "RequestCases",
    "Sample",
    "ServerUnderTest",
    "converge",
    "dns_requests",
    "http_requests",
    "rndc_requests",
]
