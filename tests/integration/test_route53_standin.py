"""The stand-in for Route 53 beside moto's, which others keep: the same ordinary calls, the same answers.

Where moto is laxer than the service (batches that aren't atomic, deletions of other values, names that aren't
escaped), the stand-in's strictness is shown by itself.
"""

from __future__ import annotations

import itertools
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from dev.servers import Route53
from dev.servers.ports import claim_port, release_port
from dev.servers.process import Process, wait_until

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server; the address."""
    port, folder = claim_port(), tmp_path_factory.mktemp("moto")
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = Process(argv, log_path=Path(folder) / "moto.log")

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, 60, "moto to listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop(5)
        release_port(port)


def item(owner: str, type: str, *values: str, ttl: int = 60) -> dict[str, Any]:
    records = [{"Value": value} for value in values]
    return {"Name": f"{owner}standin.example.org.", "Type": type, "TTL": ttl, "ResourceRecords": records}


def ordinary_calls(client: Any) -> dict[str, Any]:
    """What a delivery asks, and what is comparable of the answers."""
    seen: dict[str, Any] = {}
    created = client.create_hosted_zone(
        Name="standin.example.org.",
        CallerReference="one",
        HostedZoneConfig={"Comment": "x", "PrivateZone": False},
    )
    id = created["HostedZone"]["Id"]
    seen["created"] = (created["ResponseMetadata"]["HTTPStatusCode"], created["HostedZone"]["Name"])
    seen["description"] = {k: created["HostedZone"][k] for k in ("Config", "ResourceRecordSetCount")}
    seen["keys"] = sorted(created["ChangeInfo"])
    seen["apex"] = types_of(client, id)

    def change(*changes: tuple[str, dict[str, Any]]) -> str:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": body} for action, body in changes]}
        answer = client.change_resource_record_sets(HostedZoneId=id, ChangeBatch=batch)
        return str(client.get_change(Id=answer["ChangeInfo"]["Id"])["ChangeInfo"]["Status"])

    seen["status"] = change(
        ("CREATE", item("www.", "A", "192.0.2.1", "192.0.2.2")),
        ("CREATE", item("text.", "TXT", '"wild \\"card\\""')),
        ("CREATE", item("a.b.", "CNAME", "elsewhere.example.net.")),
        ("CREATE", item("", "MX", "10 mx.example.net.")),
    )
    seen["filled"] = contents_of(client, id)
    change(
        ("DELETE", item("www.", "A", "192.0.2.1", "192.0.2.2")),
        ("CREATE", item("www.", "A", "192.0.2.3", ttl=5)),
        ("UPSERT", item("", "MX", "20 mx.example.net.")),
    )
    seen["changed"] = contents_of(client, id)
    start = {"StartRecordName": "b.standin.example.org.", "MaxItems": "1"}
    page = client.list_resource_record_sets(HostedZoneId=id, **start)
    seen["page"] = (names_of(page), page["IsTruncated"], page["NextRecordName"], page["NextRecordType"])
    named = client.list_hosted_zones_by_name(DNSName="standin.example.org.", MaxItems="1")
    seen["by name"] = [zone["Name"] for zone in named["HostedZones"]]
    seen["refusals"] = {
        "outside": refusal(lambda: change(("CREATE", {**item("", "A", "192.0.2.9"), "Name": "other.net."}))),
        "too many": refusal(
            lambda: change(*(("CREATE", item(f"h{n}.", "A", "192.0.2.9")) for n in range(1001)))
        ),
        "no zone": refusal(lambda: client.list_resource_record_sets(HostedZoneId="Z00000000")),
        "not empty": refusal(lambda: client.delete_hosted_zone(Id=id)),
    }
    mine = [each for each in listed(client, id) if each["Type"] not in ("NS", "SOA")]
    change(*(("DELETE", each) for each in mine))
    client.delete_hosted_zone(Id=id)
    seen["gone"] = refusal(lambda: client.get_hosted_zone(Id=id))
    return seen


def listed(client: Any, id: str) -> list[dict[str, Any]]:
    return list(client.list_resource_record_sets(HostedZoneId=id)["ResourceRecordSets"])


def types_of(client: Any, id: str) -> list[str]:
    return [each["Type"] for each in listed(client, id)]


def contents_of(client: Any, id: str) -> list[tuple[str, str, int, list[str]]]:
    return [
        (each["Name"], each["Type"], each["TTL"], [record["Value"] for record in each["ResourceRecords"]])
        for each in listed(client, id)
        if each["Type"] not in ("NS", "SOA")
    ]


def names_of(page: Any) -> list[str]:
    return [each["Name"] for each in page["ResourceRecordSets"]]


def refusal(work: Callable[[], object]) -> tuple[int, str]:
    try:
        work()
    except botocore.exceptions.ClientError as exc:
        return exc.response["ResponseMetadata"]["HTTPStatusCode"], exc.response["Error"]["Code"]
    return 200, "done"


def test_ordinary_calls_are_answered_as_moto_answers_them(route53: Route53, moto: str) -> None:
    ours, theirs = route53.client(), route53.client(endpoint_url=moto)
    found, expected = ordinary_calls(ours), ordinary_calls(theirs)
    ours.close()
    theirs.close()
    assert found == expected


# --- where it is stricter ---


@pytest.fixture
def change(route53: Route53) -> Iterator[Callable[..., Any]]:
    """One batch on a zone of the test's own, or its refusal."""
    client = route53.client()
    id = client.create_hosted_zone(Name="strict.example.org.", CallerReference=f"strict {next(_numbers)}")[
        "HostedZone"
    ]["Id"]

    def work(*changes: tuple[str, dict[str, Any]]) -> Any:
        items = [
            {
                "Action": action,
                "ResourceRecordSet": {**body, "Name": body["Name"].replace("standin", "strict")},
            }
            for action, body in changes
        ]
        try:
            if items:
                client.change_resource_record_sets(HostedZoneId=id, ChangeBatch={"Changes": items})
        except botocore.exceptions.ClientError as exc:
            return exc.response["Error"]["Message"]
        return contents_of(client, id)

    yield work
    for each in listed(client, id):
        if each["Type"] not in ("NS", "SOA"):
            work(("DELETE", each))
    client.delete_hosted_zone(Id=id)
    client.close()


WWW = item("www.", "A", "192.0.2.1", "192.0.2.2")


def test_a_batch_is_done_as_a_whole_or_not_at_all(change: Callable[..., Any]) -> None:
    said = change(("CREATE", WWW), ("DELETE", item("absent.", "A", "192.0.2.1")))
    assert "but it was not found" in said
    assert change() == []


def test_what_exists_is_not_created(change: Callable[..., Any]) -> None:
    change(("CREATE", WWW))
    assert "but it already exists" in change(("CREATE", item("www.", "A", "192.0.2.9")))


@pytest.mark.parametrize(
    "other", [item("www.", "A", "192.0.2.1"), {**WWW, "TTL": 61}, item("www.", "A", "192.0.2.1", "192.0.2.3")]
)
def test_a_deletion_names_exactly_what_is_there(change: Callable[..., Any], other: dict[str, Any]) -> None:
    change(("CREATE", WWW))
    assert "do not match the current values" in change(("DELETE", other))
    assert change(("DELETE", {**WWW, "ResourceRecords": WWW["ResourceRecords"][::-1]})) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("UPSERT", item(f"h{n}.", "A", "192.0.2.1")) for n in range(501)], "records limit of 1000"),
        (
            [("CREATE", item(f"h{n}.", "TXT", f'"{"x" * 200}"')) for n in range(160)],
            "characters limit of 32000",
        ),
        ([("CREATE", item("h.", "A", *(f"10.0.{n // 250}.{n % 250}" for n in range(401))))], "more than 400"),
        ([("CREATE", item("h.", "A", "192.0.2.300"))], "Invalid Resource Record"),
        ([("CREATE", item("h.", "TXT", "bare"))], "quotation marks"),
        ([("CREATE", item("h.", "TXT", '"\\195"'))], "invalid escape"),
        ([("CREATE", item("h.", "CNAME", "x.net.")), ("CREATE", item("h.", "A", "192.0.2.1"))], "conflicts"),
        ([("CREATE", item("", "CNAME", "x.net."))], "conflicts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_service_refuses_is_refused(
    change: Callable[..., Any], changes: list[tuple[str, dict[str, Any]]], words: str
) -> None:
    assert words in change(*changes)
    assert change() == []


def test_names_are_shown_with_octal_escapes(change: Callable[..., Any]) -> None:
    found = change(("CREATE", item("*.", "A", "192.0.2.1")), ("CREATE", item("a/b.", "A", "192.0.2.1")))
    assert [name for name, *_ in found] == ["\\052.strict.example.org.", "a\\057b.strict.example.org."]


def test_a_caller_reference_is_good_once(route53: Route53) -> None:
    client = route53.client()
    made = client.create_hosted_zone(Name="once.example.org.", CallerReference="once")
    client.delete_hosted_zone(Id=made["HostedZone"]["Id"])
    again = refusal(lambda: client.create_hosted_zone(Name="once.example.org.", CallerReference="once"))
    assert again == (409, "HostedZoneAlreadyExists")
    client.close()


def test_zones_and_changes_survive_a_kill() -> None:
    with Route53() as server:
        client = server.client()
        id = client.create_hosted_zone(Name="kept.example.org.", CallerReference="kept")["HostedZone"]["Id"]
        batch = {
            "Changes": [{"Action": "CREATE", "ResourceRecordSet": {**WWW, "Name": "www.kept.example.org."}}]
        }
        client.change_resource_record_sets(HostedZoneId=id, ChangeBatch=batch)
        server.kill()
        server.start()
        assert [name for name, *_ in contents_of(client, id)] == ["www.kept.example.org."]
        assert [each["action"] for each in server.requests()] == ["ListResourceRecordSets"]
        client.close()
