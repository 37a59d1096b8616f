"""pools.yaml: what it may say, which line is wrong when it is wrong, and that no secret gets out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from dnsworker import pools
from dnsworker.backend import Options
from dnsworker.credentials import TsigKey, mask, mask_url, resolve_secrets
from dnsworker.errors import ConfigError
from dnsworker.pools import Nameserver, NsRecord, Pool, Target, check_options, load_pools

GOOD = """\
- name: default
  description: The default pool
  ns_records:
    - hostname: ns1.Example.org.
      priority: 1
    - hostname: ns2.example.org.
      priority: 2
  nameservers:
    - host: 192.0.2.2
    - host: "2001:db8::1"
      port: 5353
      target: bind-1
      tsig_key: hmac-sha512:transfer:c2VjcmV0
  targets:
    - name: bind-1
      type: bind9
      masters:
        - host: 192.0.2.1
          port: 5354
      options:
        host: 192.0.2.2
        tsig_key: {name: update, secret: aHVudGVyMg==}
    - type: powerdns
      options:
        url: http://192.0.2.3:8081
        api_key: {file: /run/secrets/pdns}
      limits: {concurrency: 2, requests_per_second: 10}
  threshold_percentage: 50
  on_drift: report
"""
LITERAL_SECRETS = ("c2VjcmV0", "aHVudGVyMg==")


def good() -> Pool:
    return load_pools(GOOD)[0]


def test_a_file_is_read_as_it_says() -> None:
    pool = good()
    assert [record.hostname for record in pool.ns_records] == ["ns1.example.org.", "ns2.example.org."]
    assert [server.address for server in pool.nameservers] == ["192.0.2.2:53", "[2001:db8::1]:5353"]
    assert [server.target for server in pool.nameservers] == [None, "bind-1"]
    assert pool.targets[0].masters[0].address == "192.0.2.1:5354"
    assert (pool.targets[1].limits.concurrency, pool.targets[1].limits.requests_per_second) == (2, 10)
    assert (pool.threshold_percentage, pool.on_drift) == (50, "report")


def test_a_target_without_a_name_gets_one_made_of_pool_type_and_number() -> None:
    assert [target.name for target in good().targets] == ["bind-1", "default-powerdns-1"]


def test_a_made_up_name_is_fit_for_a_queue_whatever_the_pool_is_called() -> None:
    text = GOOD.replace("name: default", f"name: {'Büro & Söhne ' * 6}")
    name = load_pools(text)[0].targets[1].name
    assert pools.TARGET_NAME.fullmatch(name), name


def test_a_path_and_its_text_give_the_same_pools(tmp_path: Path) -> None:
    path = tmp_path / "pools.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_pools(path) == load_pools(str(path)) == load_pools(GOOD)


def test_a_pool_survives_its_document_unchanged_and_as_json() -> None:
    pool = good()
    document = json.loads(json.dumps(pool.to_document()))
    assert Pool.from_document(document) == pool
    key = Pool.from_document(document).nameservers[1].tsig_key
    assert key is not None
    assert key.to_dnspython().secret == b"secret"


def test_the_stored_document_holds_references_not_secrets() -> None:
    stored = good().to_document()
    assert stored["targets"][1]["options"]["api_key"] == {"file": "/run/secrets/pdns"}


def test_a_stored_document_that_this_version_cannot_read_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="stored pool default: surprise: is not known here"):
        Pool.from_document({**good().to_document(), "surprise": 1})


def test_no_literal_secret_is_shown_by_repr_or_for_people() -> None:
    pool = good()
    for shown in (repr(pool), str(pool), json.dumps(pool.to_public())):
        assert not [secret for secret in LITERAL_SECRETS if secret in shown]
    assert pool.to_public()["targets"][1]["options"]["api_key"] == {"file": "/run/secrets/pdns"}


def test_what_only_designate_knows_is_read_over_with_a_note() -> None:
    text = """\
- name: default
  id: 794ccc2c-d751-44fe-b57f-8894c9f5c842
  attributes: {}
  ns_records:
    - hostname: ns1.example.org.
      priority: 1
  nameservers:
    - host: 192.0.2.2
      port: 53
      id: 1
  targets:
    - type: pdns4
      description: PowerDNS
      masters: [{host: 192.0.2.1, port: 5354}]
      options: {}
  also_notifies:
  catalog_zone:
    catalog_zone_fqdn: cat.example.org.
    catalog_zone_refresh: '60'
"""
    notes: list[str] = []
    pool = load_pools(text, notes=notes)[0]
    assert pool.targets[0].type == "powerdns"
    assert pool.catalog_zone is not None
    assert notes == [
        "pools.yaml:2: id is Designate's and not used here",
        "pools.yaml:3: attributes is Designate's and not used here",
        "pools.yaml:10: nameservers[0].id is Designate's and not used here",
        "pools.yaml:13: targets[0].description is Designate's and not used here",
        "pools.yaml:12: type pdns4 is called powerdns here",
    ]


MISTAKES = [
    # what is replaced, by what, the line, a part of the reason
    ("name: default", "name: 7 : 8", 1, "mapping values are not allowed"),
    ("  nameservers:", "   nameservers:", 8, "expected"),
    ("  threshold_percentage", "  name", 28, "'name' is there twice"),
    ("ns1.Example.org.", "ns1.example.org", 4, "lacks its final dot: write 'ns1.example.org.'"),
    ("ns2.example.org.", "ns1.example.org.", 6, "'ns1.example.org.' is there twice"),
    ("ns2.example.org.", "ns2..example.org.", 6, "ns_records[1].hostname"),
    ("priority: 2", "priority: high", 7, "ns_records[1].priority"),
    ("host: 192.0.2.2\n    -", "host: 192.0.2.999\n    -", 9, "neither an IP address nor a host name"),
    ("host: 192.0.2.2\n    -", "port: 53\n    -", 9, "nameservers[0].host: is missing"),
    ("port: 5353", "port: 0", 11, "nameservers[1].port"),
    ("target: bind-1", "target: bind-2", 12, "no target 'bind-2'; it has: bind-1, default-powerdns-1"),
    ("c2VjcmV0", "hunter2", 13, "the secret is not base64"),
    ("hmac-sha512:", "hmac-sha9:", 13, "no TSIG algorithm 'hmac-sha9'"),
    ("name: bind-1", "name: bind 1", 15, "letters, digits"),
    ("name: bind-1", "name: default-powerdns-1\n      x: 1", 16, "targets[0].x: is not known here"),
    ("target: bind-1\n", "target: default-powerdns-1\n", None, ""),
    ("type: powerdns", "typ: powerdns", 23, "targets[1].type: is missing"),
    ("    - type: powerdns", "    - name: bind-1\n      type: powerdns", 23, "'bind-1' is there twice"),
    ("concurrency: 2", "concurrency: 0", 27, "limits.concurrency"),
    ("concurrency: 2", "burts: 2", 27, "limits.burts: is not known here"),
    ("threshold_percentage: 50", "threshold_percentage: 101", 28, "less than or equal to 100"),
    ("on_drift: report", "on_drift: explode", 29, "'repair', 'report' or 'ignore'"),
    ("on_drift: report", "on_drft: report", 29, "on_drft: is not known here"),
]


@pytest.mark.parametrize(("before", "after", "line", "reason"), MISTAKES)
def test_a_mistake_is_told_with_its_line(before: str, after: str, line: int | None, reason: str) -> None:
    assert before in GOOD
    text = GOOD.replace(before, after, 1)
    if line is None:
        load_pools(text)
        return
    with pytest.raises(ConfigError) as caught:
        load_pools(text)
    said = str(caught.value)
    assert said.startswith(f"pools.yaml:{line}: "), said
    assert reason in said
    assert "\n" not in said
    assert not [secret for secret in (*LITERAL_SECRETS, "hunter2") if secret in said], said


@pytest.mark.parametrize("text", ["\n", "name: default\n", "[]\n", "- default\n\n", "- [1]\n\n", "\t- x\n"])
def test_a_file_that_is_no_list_of_pools_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^pools\.yaml:\d+: "):
        load_pools(text)


@pytest.mark.parametrize("part", ["targets", "ns_records"])
def test_a_pool_needs_targets_and_ns_records(part: str) -> None:
    pool = {"name": "x", "targets": [{"type": "builtin"}], "ns_records": [{"hostname": "ns."}], part: []}
    with pytest.raises(ConfigError, match=rf"{part}: List should have at least 1 item"):
        load_pools(json.dumps([pool], indent=1))


def test_names_are_unique_over_all_pools() -> None:
    other = GOOD.replace("name: default", "name: other").replace("name: bind-1", "name: bind-9")
    with pytest.raises(ConfigError, match=r":30: pool default: name: pool 'default' is there twice"):
        load_pools(GOOD + GOOD)
    with pytest.raises(ConfigError, match=r":44: .*'bind-1' is also a target of pool default"):
        load_pools(GOOD + GOOD.replace("name: default", "name: other"))
    assert len(load_pools(GOOD + other.replace("target: bind-1", "target: bind-9"))) == 2


def test_a_missing_or_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*none\.yaml: No such file"):
        load_pools(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"- name: B\xfcro\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_pools(tmp_path / "latin.yaml")


def test_yaml_that_would_run_code_is_refused() -> None:
    with pytest.raises(ConfigError, match=r":1: could not determine a constructor"):
        load_pools("- !!python/object/apply:os.system ['true']\n")


def test_secrets_are_read_from_files_and_environment_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("from-file\n", encoding="utf-8")
    monkeypatch.setenv("POOL_TOKEN", "from-env")
    options = {"a": {"file": str(tmp_path / "key")}, "b": {"c": {"env": "POOL_TOKEN"}}, "d": ["x"], "e": 1}
    assert resolve_secrets(options) == {"a": "from-file", "b": {"c": "from-env"}, "d": ["x"], "e": 1}


@pytest.mark.parametrize("reference", [{"file": "/nonexistent/key"}, {"env": "NOT_SET_ANYWHERE"}])
def test_a_secret_that_is_not_there_is_a_config_error(reference: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(reference.values()))):
        resolve_secrets({"api_key": reference})


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("api_key", "x", "********"),
        ("tsig_key", "hmac-sha256:n:c2VjcmV0", "********"),
        ("secret", SecretStr("x"), "********"),
        ("password", 5, "********"),
        ("Token", "x", "********"),
        ("api_key", {"env": "X"}, {"env": "X"}),
        ("tsig_key", {"name": "n", "secret": "x"}, {"name": "n", "secret": "********"}),
        ("rndc_key_file", "/etc/rndc.key", "/etc/rndc.key"),
        ("key_name", "n", "n"),
        ("url", "https://user:pw@host/x", "https://user:********@host/x"),
        ("api_key", None, None),
    ],
)
def test_values_are_masked_by_their_name(name: str, value: object, shown: object) -> None:
    assert mask({name: value}) == {name: shown}


def test_a_url_loses_only_its_password() -> None:
    assert mask_url("postgresql://dns:s3cret@db/dns") == "postgresql://dns:********@db/dns"
    assert mask_url("amqp://:pw@mq//") == "amqp://:********@mq//"
    assert mask_url("sqlite:////var/x.db") == "sqlite:////var/x.db"


def test_a_tsig_key_may_be_text_or_a_mapping() -> None:
    text = TsigKey.model_validate("hmac-sha512:k.:c2VjcmV0")
    mapping = TsigKey.model_validate({"name": "k.", "algorithm": "HMAC-SHA512", "secret": "c2VjcmV0"})
    assert text == mapping
    assert TsigKey.model_validate("k:c2VjcmV0").algorithm == "hmac-sha256"


class StubOptions(Options):
    host: str
    api_key: SecretStr


@pytest.fixture
def stub_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    class StubBackend:
        options_model = StubOptions

    monkeypatch.setattr(pools, "load_backend", lambda kind: StubBackend)


def pool_with(options: dict[str, object]) -> Pool:
    return Pool(
        name="p", ns_records=[NsRecord(hostname="ns.example.")], nameservers=[Nameserver(host="192.0.2.1")],
        targets=[Target(name="t", type="stub", options=options)],
    )  # fmt: skip


@pytest.mark.usefixtures("stub_backend")
def test_options_are_checked_by_the_backend_without_needing_the_secrets() -> None:
    check_options([pool_with({"host": "h", "api_key": {"file": "/nonexistent/key"}})])
    with pytest.raises(ConfigError, match=r"pool p: target t: options\.host: is missing"):
        check_options([pool_with({"api_key": "hunter2"})])
    with pytest.raises(ConfigError, match="/nonexistent/key"):
        check_options([pool_with({"host": "h", "api_key": {"file": "/nonexistent/key"}})], reads_secrets=True)


@pytest.mark.usefixtures("stub_backend")
def test_a_refused_option_is_told_without_its_value() -> None:
    with pytest.raises(ConfigError) as caught:
        check_options([pool_with({"host": "h", "api_key": ["hunter2"]})])
    assert "options.api_key" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_kind_names_the_kinds_there_are() -> None:
    with pytest.raises(ConfigError, match="no backend of type 'stub'; there are: bind9, builtin, "):
        check_options([pool_with({})])
