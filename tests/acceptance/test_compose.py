"""docker-compose.yml, run without a container engine: `tests/rooms.py` says how, and what that leaves out."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.program import ROOT
from tests.acceptance.comparison import wait_for
from tests.documented import block
from tests.panels import queries
from tests.rooms import House, Room, compose_config

DEPLOYMENT = "docs/operating/deployment.md"
NOT_HERE = "grafana"  # Debian has none
RUN = "docker compose run --rm "
DATASOURCES = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
WARNING = "whoever may submit may change every zone"
#: Each query of standard input, and what came of it, by a Prometheus.
ASK = """
import json, sys, urllib.error, urllib.parse, urllib.request
answers = []
for query in json.loads(sys.argv[2]):
    url = sys.argv[1] + "/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        answers.append(json.load(urllib.request.urlopen(url, timeout=10))["data"]["result"])
    except urllib.error.HTTPError as error:
        answers.append(json.load(error)["error"])
print(json.dumps(answers))
"""
GET = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers=dict([sys.argv[2:]] if sys.argv[2:] else []))
try:
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([folder / "deploy" / "prepare"], check=True, timeout=30)
    return folder


@pytest.fixture(scope="module")
def house(checkout: Path) -> Iterator[House]:
    """`docker compose --profile bind --profile powerdns up --wait --scale worker=4`, from nothing.

    That this returns is the first of the tests: every service started when those were healthy that it waits
    for, and every health check passes.
    """
    if os.geteuid() != 0 and "CI" not in os.environ:
        pytest.skip("only root may make the namespaces that stand for containers")
    config = compose_config(checkout, "bind", "powerdns", "monitoring")
    del config["services"][NOT_HERE]
    with House(checkout, config, {"worker": 4}) as running:
        yield running


def test_the_documented_commands_work(house: House, checkout: Path) -> None:
    """Each by what stands for it here; the first of them made the checkout."""
    prepare, up, *runs = block("docs/quick-start.md", "Containers").splitlines()
    deployment = block(DEPLOYMENT, "Containers").splitlines()
    assert [line.split("#")[0].strip() for line in deployment[:3]] == [prepare, up, runs[0]]
    assert (checkout / prepare).exists()
    profiles = re.findall(r"--profile (\w+)", up)
    assert set(compose_config(checkout, *profiles)["services"]) == set(house.config["services"]) - {
        "exporter",
        "prometheus",
    }
    for line in runs:
        assert line.startswith(RUN)
        assert "ACTIVE" in house.run(*line.removeprefix(RUN).split())
    port = re.search(r"-p (\d+)", deployment[3])
    assert port
    assert {(one["published"], one["target"]) for one in house.config["services"]["bind"]["ports"]} == {
        (port[1], 53)
    }
    for server in ("bind", "powerdns"):
        answer = house.rooms["intake-1"].exec("dig", "+short", f"@{server}", "www.example.org", "A")
        assert answer.stdout == "192.0.2.1\n"


def test_four_workers_share_the_deliveries(house: House) -> None:
    ask = ("celery", "-A", "dnsworker.app", "inspect", "active_queues", "--timeout", "5", "--json")
    found: dict[str, set[str]] = {}

    def have_all_answered() -> bool:
        """Whoever is busy answers the next time."""
        told = json.loads(house.rooms["intake-1"].exec(*ask).stdout or "{}")
        for name, queues in told.items():
            if name.startswith("worker@"):
                found[name] = {queue["name"] for queue in queues}
        return len(found) >= 4

    wait_for(have_all_answered, "four workers to answer")
    assert len(found) == 4
    assert {frozenset(queues) for queues in found.values()} == {
        frozenset({"dns.deliver.bind", "dns.deliver.powerdns"})
    }


def test_flower_wants_the_login_that_was_made_up(house: House, checkout: Path) -> None:
    login = (checkout / "deploy" / "secrets" / "flower_auth").read_bytes()
    header = ("Authorization", f"Basic {base64.b64encode(login).decode()}")
    flower = house.rooms["flower-1"]
    url = "http://127.0.0.1:5555/workers"
    assert flower.exec("python", "-c", GET, url).stdout == "401\n"
    assert flower.exec("python", "-c", GET, url, *header).stdout == "200\n"


def test_the_status_page_wants_the_login_that_was_made_up(house: House, checkout: Path) -> None:
    login = (checkout / "deploy" / "secrets" / "dashboard_auth").read_bytes()
    header = ("Authorization", f"Basic {base64.b64encode(login).decode()}")
    page = house.rooms["dashboard-1"]
    url = "http://127.0.0.1:8053/"
    assert page.exec("python", "-c", GET, url).stdout == "401\n"
    assert page.exec("python", "-c", GET, url, *header).stdout == "200\n"


def test_prometheus_reaches_every_process_where_grafana_reaches_it(house: House) -> None:
    (source,) = yaml.safe_load(DATASOURCES.read_text("utf-8"))["datasources"]
    intake = house.rooms["intake-1"]

    def asked(*queries: str) -> list[Any]:
        done = intake.exec("python", "-c", ASK, source["url"], json.dumps(queries))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    up = "sum by (job) (up)"
    wanted = {"dnsworker-worker": "5", "dnsworker-beat": "1", "dnsworker-exporter": "1"}
    wait_for(lambda: {one["metric"]["job"]: one["value"][1] for one in asked(up)[0]} == wanted, "all jobs")
    # Told by the intake alone, by any worker, and by the exporter.
    told = ("dnsworker_submissions_total", "dnsworker_deliveries_total", "dnsworker_zones")
    for name, found in zip(told, asked(*(f"sum({name}) > 0" for name in told)), strict=True):
        assert len(found) == 1, name
    refused = [answer for answer in asked(*(query for _, query in queries())) if isinstance(answer, str)]
    assert refused == []


def test_permissions_are_taken_from_the_folder_that_the_page_names(house: House, checkout: Path) -> None:
    assert WARNING in house.rooms["intake-1"].log_path.read_text("utf-8")
    lines = block(DEPLOYMENT, "Who may change what").splitlines()
    for line in lines[:2]:
        subprocess.run(["sh", "-c", line], cwd=checkout, check=True, timeout=30)
    assert "default  closed" in house.run(*lines[2].removeprefix(RUN).split())
    assert lines[3] == "docker compose up -d"
    house.recreate("intake")
    assert house.rooms["intake-1"].log_path.read_text("utf-8").count(WARNING) == 1
    put = ["record", "put", "example.org", "who", "A", "192.0.2.7"]
    assert "ACTIVE" in house.run("cli", *put)
    for words in (
        ["add_user", "stranger", "secret"],
        ["set_permissions", "stranger", "", "^dns.submit$", ""],
    ):
        done = house.rooms["rabbitmq-1"].exec("rabbitmqctl", *words)
        assert done.returncode == 0, done.stderr
    stranger = "DNSWORKER_BROKER_URL=amqp://stranger:secret@rabbitmq//"
    refused = house.rooms["intake-1"].exec(
        "env", "-u", "DNSWORKER_BROKER_URL_FILE", stranger, "dnsworker", *put
    )
    assert "Forbidden: stranger may not put A" in refused.stderr, refused


def test_nothing_of_ours_is_root_or_writes_to_its_image(house: House) -> None:
    for name, room in house.rooms.items():
        if room.service["image"].startswith("dnsworker:") and not name.startswith("setup"):
            assert room.exec("id", "-u").stdout == "10001\n"
            assert "Read-only" in room.exec("touch", "/var/tmp/mine").stderr
            assert room.exec("test", "-w", "/run/secrets/broker_url").returncode == 1


def test_no_secret_is_in_a_log(house: House, checkout: Path) -> None:
    written = house.logs(lines=10_000)
    for path in (checkout / "deploy" / "secrets").iterdir():
        for word in path.read_text().split():
            secret = word.rpartition("@")[0].rpartition(":")[2] or word
            assert len(secret) < 20 or secret not in written, path.name


def test_all_end_in_time_when_they_are_asked_to(house: House) -> None:
    """Last: afterwards nothing runs."""
    rooms = [room for name, room in house.rooms.items() if not name.startswith("setup")]
    ours = [room for room in rooms if room.service["image"].startswith("dnsworker:")]
    with ThreadPoolExecutor(len(rooms)) as pool:
        for group in (ours, [room for room in rooms if room not in ours]):  # those that need the others first
            ended = dict(zip([room.name for room in group], pool.map(Room.stop, group), strict=True))
            # PowerDNS handles no signal; uvicorn (the status page) ends in order, and then by it.
            by_signal = {"powerdns-1", "dashboard-1"}
            assert ended == {name: 143 if name in by_signal else 0 for name in ended}
