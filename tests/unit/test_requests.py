"""What the messages accept, and that they mean the same at both ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dnsworker.errors import InvalidName, InvalidRecord, InvalidRequest
from dnsworker.requests.kinds import OPERATIONS, parse_request
from dnsworker.requests.questions import QUERIES, parse_query
from dnsworker.requests.request import POSITIONAL
from dnsworker.requests.schema import json_schema

PUT = {"zone": "example.org", "name": "www", "type": "a", "data": ["192.0.2.2", "192.0.2.1", "192.0.2.1"]}


def test_a_payload_read_again_is_the_same_payload() -> None:
    samples: dict[str, dict[str, Any]] = {
        "create_zone": {"zone": "Example.org", "email": "hostmaster@example.org"},
        "update_zone": {"zone": "example.org", "ttl": 60},
        "delete_zone": {"zone": "example.org", "force": True},
        "create_record": PUT,
        "update_record": PUT | {"ttl": 0},
        "put_record": PUT | {"comment": "why", "pool": "inner"},
        "delete_record": {"zone": "example.org", "name": "@", "type": "TXT"},
        "change_zone": {"zone": "example.org", "changes": [
            {"action": "put", "name": "a", "type": "A", "data": ["192.0.2.1"]},
            {"action": "delete", "name": "b.example.org.", "type": "AAAA"},
        ]},
        "import_zone": {"zone": "example.org", "text": "@ A 192.0.2.1"},
        "restore_zone": {"zone": "example.org", "serial": 2**32 - 1},
        "move_zone": {"zone": "example.org", "pool": "old", "to": "new"},
    }  # fmt: skip
    assert set(samples) == set(OPERATIONS)
    for kind, arguments in samples.items():
        first = parse_request(kind, arguments)
        second = parse_request(kind, json.loads(json.dumps(first.payload())))
        assert second.payload() == first.payload()
        assert second.digest() == first.digest()
        assert second.changes == first.changes


@pytest.mark.parametrize(
    ("timer", "outside"),
    [
        ("refresh", 59), ("refresh", 604_801), ("retry", 29), ("expire", 3599), ("expire", 31_536_001),
        ("minimum", 86_401), ("minimum", -1),
    ],
)  # fmt: skip
def test_soa_timers_out_of_bounds_are_refused_with_the_bound(timer: str, outside: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"^update_zone: {timer}: Input should be .* than or equal to"):
        parse_request("update_zone", {"zone": "example.org", timer: outside})


def test_names_and_data_are_canonical() -> None:
    assert parse_request("put_record", PUT).payload() == {
        "zone": "example.org.",
        "name": "www.example.org.",
        "type": "A",
        "data": ["192.0.2.1", "192.0.2.2"],
    }


def test_the_place_in_the_order_is_no_part_of_the_meaning() -> None:
    order = {"client": "c", "number": 7, "skips": [5, 6]}
    ordered = parse_request("put_record", PUT | {"order": order})
    assert ordered.order is not None
    assert ordered.order.skips == [5, 6]
    assert ordered.digest() == parse_request("put_record", PUT).digest()


def test_another_payload_has_another_digest() -> None:
    digests = {parse_request("put_record", PUT | more).digest() for more in ({}, {"ttl": 5}, {"pool": "x"})}
    digests.add(parse_request("create_record", PUT).digest())
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "words"),
    [
        ("put_record", {}, InvalidRequest, "put_record: zone is missing; name is missing"),
        ("put_record", PUT | {"tll": 5}, InvalidRequest, "tll is not an argument of this task"),
        ("put_record", PUT | {"a\nb": 5}, InvalidRequest, "a\\010b is not an argument of this task"),
        ("put_record", PUT | {"data": "192.0.2.1"}, InvalidRequest, "data: "),
        ("put_record", PUT | {"data": [1]}, InvalidRequest, "data.0: "),
        ("put_record", PUT | {"ttl": "5"}, InvalidRequest, "ttl: "),
        ("put_record", PUT | {"ttl": True}, InvalidRequest, "ttl: "),
        ("put_record", PUT | {"ttl": 2**31}, InvalidRequest, "ttl: "),
        ("put_record", PUT | {"data": []}, InvalidRecord, ""),
        ("put_record", PUT | {"zone": "exa mple..org"}, InvalidName, ""),
        ("put_record", PUT | {"zone": None}, InvalidRequest, "zone: "),
        ("put_record", PUT | {"order": {"client": "c", "number": 0}}, InvalidRequest, "order.number: "),
        ("put_record", PUT | {"order": {"client": "", "number": 1}}, InvalidRequest, "order.client: "),
        ("put_record", {POSITIONAL: 2}, InvalidRequest, "by keyword"),
        ("update_zone", {"zone": "example.org"}, InvalidRequest, "nothing to change"),
        ("create_zone", {"zone": "example.org", "email": "nobody"}, InvalidRequest, ""),
        ("change_zone", {"zone": "example.org", "changes": []}, InvalidRequest, "changes: "),
        ("change_zone", {"zone": "example.org", "changes": ["x"]}, InvalidRequest, "changes.0: "),
        ("restore_zone", {"zone": "example.org", "serial": 2**32}, InvalidRequest, "serial: "),
    ],
)
def test_a_bad_request_is_refused_in_one_line(
    kind: str, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        parse_request(kind, arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_part_of_a_change_that_says_nothing_more_is_the_same_change() -> None:
    put = {"action": "put", "name": "a", "type": "A", "data": ["192.0.2.1"]}
    delete = {"action": "delete", "name": "b", "type": "A"}
    plain, wordy = (
        parse_request("change_zone", {"zone": "example.org", "changes": changes})
        for changes in (
            [put, delete],
            [put | {"ttl": None}, delete | {"data": [], "ttl": None, "zone": "b."}],
        )
    )
    assert wordy.payload() == plain.payload()
    assert wordy.digest() == plain.digest()
    assert wordy.changes == plain.changes
    assert json.loads(json.dumps(plain.payload()))["changes"][1] == {
        "action": "delete", "name": "b.example.org.", "type": "A"
    }  # fmt: skip


def test_a_time_to_go_back_to_is_the_same_in_every_zone_of_the_clock() -> None:
    texts = (
        "2026-11-27T09:30:00+01:00",
        "2026-11-27T08:30:00Z",
        "2026-11-27 08:30+00:00",
        " 20261127T083000Z ",
    )
    found = [parse_request("restore_zone", {"zone": "example.org", "to": text}) for text in texts]
    assert {request.payload()["to"] for request in found} == {"2026-11-27T08:30:00+00:00"}
    assert len({request.digest() for request in found}) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give either serial or to"),
        ({"serial": 1, "to": "2026-11-27T08:30:00Z"}, "give either serial or to"),
        ({"to": "2026-11-27"}, "2026-11-27 is no time with an offset from UTC, like 2026-"),
        ({"to": "2026-11-27T08:30:00"}, "is no time with an offset from UTC"),
        ({"to": "0001-01-01T00:00:00+14:00"}, "is no time with an offset from UTC"),
        ({"to": "2h ago"}, "2h ago is no time with an offset from UTC"),
    ],
)
def test_where_to_go_back_to_is_said_in_one_way(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_request("restore_zone", {"zone": "example.org", **arguments})


def test_an_rrset_is_named_once_in_a_change() -> None:
    twice = [{"action": "delete", "name": name, "type": "A"} for name in ("www", "WWW.example.org.")]
    with pytest.raises(InvalidRecord, match="named twice"):
        parse_request("change_zone", {"zone": "example.org", "changes": twice})


@pytest.mark.parametrize("action", ["create", "update", "put"])
@pytest.mark.parametrize("type_", ["A", "a", "NONSENSE"])
@pytest.mark.parametrize("more", [{}, {"ttl": 60}])
def test_what_sets_an_rrset_has_data(action: str, type_: str, more: dict[str, Any]) -> None:
    wish = {"action": action, "name": "www", "type": type_, **more}
    with pytest.raises(InvalidRecord, match=f"^www.example.org. {type_}: data is missing"):
        parse_request("change_zone", {"zone": "example.org", "changes": [wish]})


def test_a_delete_takes_no_data() -> None:
    wish = {"action": "delete", "name": "www", "type": "A", "data": ["192.0.2.1"]}
    with pytest.raises(InvalidRecord, match="takes no data"):
        parse_request("change_zone", {"zone": "example.org", "changes": [wish]})


def test_a_summary_is_short_and_without_data() -> None:
    secret = PUT | {"type": "TXT", "data": ['"secret"']}
    assert parse_request("put_record", secret).summary() == "put_record www.example.org. TXT"
    imported = parse_request("import_zone", {"zone": "example.org", "text": "secret" * 1000})
    assert imported.summary() == "import_zone example.org. (6000 characters)"


def test_queries_are_validated_too() -> None:
    assert parse_query("show_zone", {"zone": "Example.org"}).zone == "example.org."
    query = parse_query("list_records", {"zone": "example.org", "name": "www", "type": "aaaa"})
    assert (query.owner, query.type) == ("www.example.org.", "AAAA")
    with pytest.raises(InvalidName):
        parse_query("list_records", {"zone": "example.org", "name": "www.example.org"})
    with pytest.raises(InvalidRequest, match="id is missing"):
        parse_query("show_operation", {})


def test_the_schema_names_every_task() -> None:
    schema = json_schema()
    assert set(schema) == {f"dnsworker.{kind}" for kind in (*OPERATIONS, *QUERIES)}
    assert "changes" in schema["dnsworker.change_zone"]["properties"]
    json.dumps(schema)
