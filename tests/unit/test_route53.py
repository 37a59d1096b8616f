"""Route 53's spelling, its batches, and what its sentences are about; no server needed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backends.route53 import TYPES, batches, convert
from backends.route53.options import Route53Options
from backends.route53.refusals import disagrees, named_key
from dnsworker import names
from dnsworker.errors import RecordRejected
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import RRset
from dnsworker.testing import SAMPLES

ZONE = Name("example.org.")


def rrset(owner: str, type: str, *data: str, ttl: int = 60) -> RRset:
    return RRset(f"{owner}.example.org.", type, ttl, list(data))


def addresses(owner: str, count: int, net: int = 10) -> RRset:
    return rrset(owner, "A", *(f"{net}.0.{number // 250}.{number % 250}" for number in range(count)))


def texts(owner: str, count: int, letter: str) -> RRset:
    return rrset(owner, "TXT", *(f'"{number:03d}{letter * 247}"' for number in range(count)))


# --- spelling ---


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("www.example.org.", "www.example.org."),
        ("*.example.org.", "\\052.example.org."),
        ("a\\.b.example.org.", "a\\056b.example.org."),
        ("b\\032lank.example.org.", "b\\040lank.example.org."),
        ("\\200.example.org.", "\\310.example.org."),
        ("a/b.example.org.", "a/b.example.org."),
        ("_sip._tcp.example.org.", "_sip._tcp.example.org."),
    ],
)
def test_names_are_escaped_in_octal(name: str, spelled: str) -> None:
    assert convert.name_to_api(Name(name)) == spelled
    assert convert.name_from_api(spelled) == name


def test_a_name_is_read_however_route_53_shows_it() -> None:
    assert convert.name_from_api("a\\057b.example.org.") == "a/b.example.org."
    assert convert.name_from_api("WWW.example.org.") == "www.example.org."


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
def test_any_name_comes_back(labels: list[bytes]) -> None:
    name = ZONE
    for label in labels:
        name = names.below(label, name)
    spelled = convert.name_to_api(name)
    assert convert.name_from_api(spelled) == name
    assert re.fullmatch(r"([!-\[\]-~]|\\[0-3][0-7]{2})+", spelled)


@given(st.lists(st.binary(max_size=255), min_size=1, max_size=4))
def test_any_text_comes_back_to_the_octet(strings: list[bytes]) -> None:
    data = " ".join('"' + "".join(f"\\{octet:03d}" for octet in string) + '"' for string in strings)
    text = rrset("text", "TXT", data)
    item = convert.item_of(text)
    assert convert.rrset_of(item) == text
    for value in convert.raw_values(item):
        assert re.fullmatch(r'("([ !#-\[\]-~]|\\"|\\[0-3][0-7]{2})*" ?)+', value)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.type in TYPES], ids=lambda s: s.owner)
def test_every_type_comes_back(sample: object) -> None:
    wanted = sample.rrset(ZONE)  # type: ignore[attr-defined]
    assert convert.rrset_of(convert.item_of(wanted)) == wanted


@pytest.mark.parametrize(
    ("type", "value", "data"),
    [
        ("AAAA", "2001:0DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("CNAME", "Elsewhere.Example.NET", "elsewhere.example.net."),
        ("MX", "10 mail.example.net", "10 mail.example.net."),
        ("TXT", '"a\\040b"', '"a b"'),
        ("CNAME", "a\\056b.example.net.", "a\\.b.example.net."),
    ],
)
def test_what_others_spell_differently_is_the_same(type: str, value: str, data: str) -> None:
    item = {"Name": "x.example.org.", "Type": type, "TTL": 5, "ResourceRecords": [{"Value": value}]}
    assert convert.rrset_of(item) == rrset("x", type, data, ttl=5)


def test_what_cant_be_read_stays_as_it_is() -> None:
    item = {"Name": "x.example.org.", "Type": "TXT", "TTL": 5, "ResourceRecords": [{"Value": '"\\195"'}]}
    assert convert.rrset_of(item).data == ('"\\195"',)


def test_only_a_name_type_ttl_and_data_are_plain() -> None:
    item = convert.item_of(rrset("www", "A", "192.0.2.1"))
    assert convert.is_plain(item)
    for field in ("AliasTarget", "SetIdentifier", "Weight", "HealthCheckId", "SomethingNew"):
        assert not convert.is_plain({**item, field: "x"})


# --- batches ---


def sizes(packed: list[list[RRsetChange]]) -> list[tuple[int, int]]:
    """(records, characters) of each batch, counted from the request as Route 53 counts."""
    found = []
    for batch in packed:
        values = [
            value
            for item in batches.to_api(batch, ZONE, {})
            for value in convert.raw_values(item["ResourceRecordSet"]) * (1 + (item["Action"] == "UPSERT"))
        ]
        found.append((len(values), sum(map(len, values))))
    return found


def test_what_fits_is_one_batch() -> None:
    changes = [RRsetChange(addresses(f"h{n}", 5), addresses(f"h{n}", 5, net=11)) for n in range(100)]
    assert batches.pack(changes, ZONE) == [changes]
    assert sizes([changes]) == [(1000, sizes([changes])[0][1])]


@pytest.mark.parametrize(
    "changes",
    [
        [RRsetChange(None, addresses(f"h{n}", 1)) for n in range(1500)],
        [RRsetChange(addresses(f"h{n}", 1), addresses(f"h{n}", 1, net=11)) for n in range(750)],
        [RRsetChange(None, texts(f"t{n}", 2, "x")) for n in range(80)],
        [RRsetChange(texts(f"t{n}", 2, "x"), None) for n in range(80)],
        # One owner that is too large: its removals first, each RRset whole.
        [RRsetChange(addresses("big", 400), None), RRsetChange(None, texts("big", 100, "x"))],
        # One RRset whose two forms don't fit together.
        [RRsetChange(texts("big", 100, "x"), texts("big", 100, "y"))],
    ],
    ids=["creations", "replacements", "texts", "removed-texts", "owner", "rrset"],
)
def test_batches_stay_within_both_limits_and_in_order(changes: list[RRsetChange]) -> None:
    packed = batches.pack(changes, ZONE)
    assert all(records <= 1000 and characters <= 32_000 for records, characters in sizes(packed))
    sent = [item for batch in packed for item in batches.to_api(batch, ZONE, {})]
    assert sent == batches.to_api(changes, ZONE, {})


def test_an_upsert_counts_twice() -> None:
    one, many = (RRset(ZONE, "NS", 60, [f"ns{n}.example.net." for n in range(count)]) for count in (1, 400))
    apex = RRsetChange(one, many)
    assert sizes(batches.pack([apex], ZONE))[0][0] == 800
    assert len(batches.pack([RRsetChange(None, addresses("first", 200)), apex], ZONE)) == 1
    assert len(batches.pack([RRsetChange(None, addresses("first", 201)), apex], ZONE)) == 2


def test_what_no_request_can_hold_is_refused_by_name() -> None:
    with pytest.raises(RecordRejected, match="too large for Route 53") as caught:
        batches.pack([RRsetChange(None, texts("big", 140, "x"))], ZONE)
    assert caught.value.rrset == ("big.example.org.", "TXT")


def test_deletions_of_what_was_listed_stay_within_the_limits() -> None:
    items = [convert.item_of(addresses(f"h{n}", 300)) for n in range(7)]
    found = batches.deletions(items)
    assert [len(batch) for batch in found] == [3, 3, 1]
    assert batches.deletions([]) == []


# --- what a refusal is about ---

BATCH = [
    RRsetChange(None, rrset("www", "A", "192.0.2.1")),
    RRsetChange(None, rrset("*", "TXT", '"x"')),
    RRsetChange(None, rrset("text", "TXT", '"long"')),
]


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("[RRSet of type A with DNS name www.example.org. is not permitted as it conflicts]", ("www", "A")),
        ("[Tried to create resource record set [name='\\052.example.org.', type='TXT'] but]", ("*", "TXT")),
        ("Tried to create resource record set www.example.org. type A, but it already exists", ("www", "A")),
        ("[RRSet with DNS name text.example.org. is not permitted in zone other.]", ("text", "TXT")),
        ("[RRSet with DNS name www.example.org., type A, SetIdentifier null cannot be]", ("www", "A")),
        (
            "[Invalid Resource Record: 'FATAL problem: X (too long) encountered with '\"long\"'']",
            ("text", "TXT"),
        ),
        ("[Number of records limit of 1000 exceeded.]", None),
        ("[RRSet of type A with DNS name other.example.org. is not permitted]", None),
    ],
)
def test_a_refusal_names_our_rrset_where_it_says_one(message: str, key: tuple[str, str] | None) -> None:
    assert named_key(message, BATCH) == (key and (f"{key[0]}.example.org.", key[1]))


def test_a_refusal_of_one_rrset_is_about_that() -> None:
    assert named_key("no further words", BATCH[:1]) == ("www.example.org.", "A")


@pytest.mark.parametrize(
    ("message", "is_disagreement"),
    [
        ("[Tried to delete resource record set [name='x.', type='A'] but it was not found]", True),
        ("[Tried to delete … but the values provided do not match the current values]", True),
        ("[Tried to create resource record set [name='x.', type='A'] but it already exists]", True),
        ("[RRSet of type CNAME with DNS name x. is not permitted as it conflicts with other records]", False),
        ("[Number of records limit of 1000 exceeded.]", False),
    ],
)
def test_a_zone_in_another_state_is_no_refusal_of_records(message: str, is_disagreement: bool) -> None:
    assert disagrees(message) == is_disagreement


# --- options ---


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"access_key_id": "AKIA"}, "go together"),
        ({"session_token": "x"}, "belongs to an access_key_id"),
        ({"access_key_id": "AKIA", "secret_access_key": "x", "profile": "p"}, "either a key or a profile"),
        ({"vpc_id": "vpc-1", "vpc_region": "eu-west-1"}, "private: true"),
        ({"private": True, "vpc_id": "vpc-1"}, "vpc_region"),
        ({"private": True, "delegation_set_id": "N1"}, "no delegation set"),
        ({"endpoint_url": "localhost:80"}, "https://host"),
        ({"zone_ids": {"..": "Z1"}}, "empty label"),
        ({"zone_id": "Z1"}, "Extra inputs"),
    ],
)
def test_options_that_dont_fit_together_are_said(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Route53Options.model_validate(options)


def test_zone_ids_are_taken_as_they_are_usually_written() -> None:
    options = Route53Options.model_validate({"zone_ids": {"Example.ORG": "/hostedzone/Z1"}})
    assert options.zone_ids == {"example.org.": "Z1"}


def test_no_options_at_all_mean_the_machines_own_role() -> None:
    assert Route53Options().access_key_id is None
