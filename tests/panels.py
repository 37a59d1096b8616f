"""What the panels of deploy/grafana/dnsworker.json ask of Prometheus, with Grafana's variables filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dev.program import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "dnsworker.json"
#: As Grafana does for "All", and for a panel of an hour.
VARIABLES = {"$__rate_interval": "1m0s", "$pool": ".*", "$target": ".*"}


def queries() -> Iterator[tuple[str, str]]:
    """Each panel's title with each of its expressions."""
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            yield panel["title"], text
