"""The policy and pools.yaml of docs/backends/route53.md: run as they stand, address and key aside."""

from __future__ import annotations

import json
import re
from pathlib import Path

from backends.route53 import BACKEND, TYPES
from backends.route53.options import Route53Options
from dev.program import ROOT
from dev.servers import Route53
from dev.servers.route53_server import ROUTES
from dnsworker.backend import Options, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import RRsetChange, make_plan
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset
from tests.documented import block

PAGE = "docs/backends/route53.md"
TEXT = (ROOT / PAGE).read_text("utf-8")
POLICY = block(PAGE, "IAM policy")
POOLS_YAML = block(PAGE, "pools.yaml")
ZONE = Name("documented.example.org.")


def test_the_documented_pool_works_and_needs_what_the_policy_allows(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    with Route53() as server:
        secret.write_text(server.secret_access_key)
        text = POOLS_YAML.replace("https://route53.amazonaws.com", server.endpoint_url)
        text = text.replace("AKIAIOSFODNN7EXAMPLE", server.access_key_id)
        (pool,) = load_pools(text.replace("/run/secrets/route53-secret-access-key", str(secret)))
        (target,) = pool.targets
        backend = load_backend(target.type)(target.name, build_options(target))
        assert backend.check().ok, backend.check().message
        soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
        ns = RRset(ZONE, "NS", 60, [record.hostname for record in pool.ns_records])
        backend.create_zone(ZoneContents.of(ZONE, soa, [ns]))
        www = RRset(f"www.{ZONE}", "A", 60, ["192.0.2.1"])
        receipt = backend.apply(make_plan(ZONE, soa, soa.with_serial(8), [RRsetChange(None, www)]))
        assert receipt.change_id
        assert backend.has_arrived(ZONE, receipt.change_id)
        assert backend.read_rrsets(ZONE, [www.key]) == {www.key: www}
        backend.delete_zone(ZONE)
        assert backend.read_zone(ZONE) is None
        backend.close()
        asked = {each["action"] for each in server.requests()}
    allowed = {action for statement in json.loads(POLICY)["Statement"] for action in statement["Action"]}
    assert {f"route53:{action}" for action in asked} <= allowed
    # With private zones a zone is also looked at by itself.
    assert allowed == {f"route53:{action}" for action in {*asked, "GetHostedZone"}}
    assert allowed == {f"route53:{action}" for action, *_ in ROUTES}


def test_the_table_of_options_has_all_of_them_with_their_defaults() -> None:
    rows = {
        name: default
        for names, default in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (\S+) \|", TEXT, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    own = {name: f for name, f in Route53Options.model_fields.items() if name not in Options.model_fields}
    assert rows.keys() == own.keys()
    for name, field in own.items():
        if isinstance(field.default, bool):
            assert rows[name] == f"`{str(field.default).lower()}`", name
        elif isinstance(field.default, float):
            assert rows[name] == f"{field.default:g}", name


def test_the_types_are_those_that_are_declared() -> None:
    (sentence,) = re.findall(r"It knows (.*?)\.$", TEXT, re.MULTILINE)
    assert re.findall(r"[A-Z]+", sentence) == sorted(TYPES)
    assert BACKEND.capabilities.types == set(TYPES)
