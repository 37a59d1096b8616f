"""deploy/grafana, as far as it can be judged without a Grafana: by Prometheus' parser, and by what must fit.

Whether each metric and label exists which a panel asks for is tested beside the metrics, in
`integration/test_metrics.py`; `acceptance/test_compose.py` puts each query to a Prometheus that has them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from dev.program import ROOT
from tests.panels import DASHBOARD, queries

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return document["services"]  # type: ignore[no-any-return]


def check(folder: Path, expressions: list[str]) -> str:
    """What Prometheus has to say of them; nothing when all can be parsed."""
    rules = [{"record": f"panel:{number}:query", "expr": text} for number, text in enumerate(expressions)]
    path = folder / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stderr


def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    expressions = [text for _, text in queries()]
    assert len(expressions) > 40
    assert [text for text in expressions if "$" in text] == []  # a variable that nobody fills in
    assert check(tmp_path, expressions) == ""
    assert "parse error" in check(tmp_path, [*expressions, "sum by (le (rate(up[5m]))"])


def sources_in(part: Any) -> Iterator[tuple[str, str]]:
    """Every data source that a part of the dashboard names, as type and id."""
    if isinstance(part, dict):
        if isinstance(found := part.get("datasource"), dict):
            yield found["type"], found["uid"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from sources_in(each)


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    board = json.loads(DASHBOARD.read_text("utf-8"))
    (variable,) = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
    assert variable["query"] == source["type"] == "prometheus"
    asked = list(sources_in(board))
    assert len(asked) > len(board["panels"])
    assert set(asked) == {("prometheus", f"${{{variable['name']}}}")}
    assert source["isDefault"]  # so the variable is it from the start


def test_grafana_finds_the_files_and_the_prometheus_where_it_is_told_to_look(
    services: dict[str, Any],
) -> None:
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert (ROOT / "deploy" / "grafana" / "provisioning").is_dir()
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "dnsworker.yml").read_text("utf-8"))[
        "providers"
    ]
    place = Path(mounts[f"./{DASHBOARD.relative_to(ROOT)}"])
    assert str(place.parent) == provider["options"]["path"]
    assert place.suffix == ".json"
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    url = urlsplit(source["url"])
    ports = [each.rpartition(":")[2] for each in services[str(url.hostname)]["ports"]]
    assert ports == [str(url.port)]


def test_prometheus_is_told_of_every_process_that_answers_it(services: dict[str, Any]) -> None:
    """Those whose health is asked at the same port."""
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    told = set[str]()
    for job in document["scrape_configs"]:
        for source in job.get("dns_sd_configs", []):
            told |= {f"{name}:{source['port']}" for name in source["names"]}
        for source in job.get("static_configs", []):
            told |= set(source["targets"])
    port = services["setup"]["environment"]["DNSWORKER_METRICS_PORT"]
    answering = {
        f"{name}:{port}"
        for name, service in services.items()
        if service.get("healthcheck", {}).get("test", [])[1:3] == ["dnsworker", "health"]
    }
    assert {"intake:9780", "worker:9780"} < answering == told
