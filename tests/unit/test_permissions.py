"""What the patterns and rules of permissions.yaml mean."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsworker import names
from dnsworker.errors import Forbidden
from dnsworker.names import Name
from dnsworker.permissions import Permissions, demands_of, load
from dnsworker.permissions.demand import RECORD_WORDS, ZONE_WORDS, Demand
from dnsworker.permissions.patterns import NamePatterns, ZonePatterns
from dnsworker.requests.kinds import OPERATIONS, parse_request
from dnsworker.requests.questions import QUERIES, ZoneQuery, parse_query
from dnsworker.requests.request import Request

FILE = """\
default: closed

users:
  cert-manager:
    - may: [put, delete]
      zones: [example.org, "*.example.org"]
      names: _acme-challenge.*
      types: TXT
  shop:
    - may: all
      zones: [shop.example, Bücher.example]
    - may_not: delete_zone
      zones: "*"
  internal:
    - {may: [put, read], zones: "*", pools: inner}

everybody:
  - {may_not: [put, delete], zones: "*", names: "@", types: NS}
"""


def of(user: str, *rules: dict[str, Any], default: str = "closed") -> Permissions:
    """As read from a file; JSON is YAML."""
    return load(json.dumps({"default": default, "users": {user: list(rules)}}, indent=1))


def put(zone: str, name: str, type_: str = "TXT", **more: Any) -> Request:
    data = {"A": "192.0.2.1", "NS": "ns.example.net.", "TYPE2": "ns.example.net."}.get(type_.upper(), "x")
    return parse_request("put_record", {"zone": zone, "name": name, "type": type_, "data": [data], **more})


def verdict(permissions: Permissions, user: str | None, request: Request) -> bool:
    return permissions.refusal(user, request) is None


# --- patterns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("example.org", ["example.org."], ["a.example.org.", "evil-example.org.", "example.org.evil."]),
        ("Example.ORG.", ["example.org."], ["example.com."]),
        ("*.example.org", ["a.example.org.", "a.b.example.org."], ["example.org.", "evil-example.org."]),
        ("*", ["example.org.", "a.b.c."], []),
        ("bücher.example", ["xn--bcher-kva.example."], ["bcher.example."]),
        ("*.BÜCHER.example", ["a.xn--bcher-kva.example."], ["xn--bcher-kva.example."]),
        (
            "customer-*.example.org",
            ["customer-1.example.org.", "customer-.example.org."],
            ["customer-1.a.example.org.", "a.customer-1.example.org.", "customer-1.example.org.evil."],
        ),
        ("*.*-dev.example.org", ["a.x-dev.example.org."], ["x-dev.example.org.", "a.b.example.org."]),
        (r"a\.b.example.org", [r"a\.b.example.org."], ["a.b.example.org."]),
    ],
)
def test_zone_patterns(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    patterns = ZonePatterns([pattern])
    assert [zone for zone in [*meant, *not_meant] if patterns.match(Name(zone))] == meant


ZONE = Name("example.org.")


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("@", ["example.org."], ["www.example.org.", r"\@.example.org."]),
        ("WWW", ["www.example.org."], ["example.org.", "a.www.example.org.", "wwww.example.org."]),
        ("www.example.org.", ["www.example.org."], ["www.example.org.example.org."]),
        (
            "*.dev",
            ["a.dev.example.org.", "a.b.dev.example.org.", "*.dev.example.org."],
            ["dev.example.org.", "evildev.example.org.", r"a\.dev.example.org."],
        ),
        ("*.dev.example.org.", ["a.dev.example.org."], ["dev.example.org."]),
        (
            "_acme-challenge.*",
            ["_acme-challenge.example.org.", "_acme-challenge.a.b.example.org."],
            [
                "_acme-challengex.example.org.",
                "x._acme-challenge.example.org.",
                "example.org.",
                r"_acme-challenge\.a.example.org.",
            ],
        ),
        (
            "web-*.dev",
            ["web-1.dev.example.org.", r"web-\032.dev.example.org.", "web-.dev.example.org."],
            ["web-1.x.dev.example.org.", "web.dev.example.org."],
        ),
        ("a.*.b", ["a.x.b.example.org."], ["a.b.example.org.", "a.x.y.b.example.org."]),
        ("*", ["example.org.", "*.example.org.", "a.b.example.org."], []),
        (r"\*", ["*.example.org."], ["a.example.org.", "example.org."]),
        (r"\*.dev", ["*.dev.example.org."], ["a.dev.example.org."]),
        ("bücher", ["xn--bcher-kva.example.org."], ["example.org."]),
        ("_acme-challenge.bücher.*", ["_acme-challenge.xn--bcher-kva.example.org."], ["example.org."]),
        ("*。dev", ["a.dev.example.org."], ["dev.example.org."]),
    ],
)
def test_name_patterns(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    patterns = NamePatterns([pattern])
    assert [name for name in [*meant, *not_meant] if patterns.match(Name(name), ZONE)] == meant


LABELS = st.sampled_from([b"a", b"dev", b"a.b", b"web-1", b"*", b"@", b" ", b"\\", b"xn--bcher-kva"])


def by_labels(pattern: Sequence[bytes], labels: Sequence[bytes]) -> bool:
    """What patterns of whole labels mean, said otherwise than by a regular expression."""
    if pattern == [b"*"]:
        return True
    if pattern[-1] == b"*":
        return any(by_labels(pattern[:-1], labels[:end]) for end in range(len(labels) + 1) if pattern[:-1])
    if pattern[0] == b"*":
        tail = list(pattern[1:])
        return len(labels) > len(tail) and list(labels[-len(tail) :]) == tail
    return list(pattern) == list(labels)


@given(
    st.lists(LABELS.filter(lambda label: label != b"*"), min_size=1, max_size=2),
    st.booleans(),
    st.booleans(),
    st.lists(LABELS, max_size=4),
)
def test_patterns_of_whole_labels_mean_labels_whatever_is_in_them(
    middle: list[bytes], is_below: bool, is_open: bool, labels: list[bytes]
) -> None:
    name = ZONE
    for label in reversed(labels):
        name = names.below(label, name)
    pattern = [b"*"] * is_below + middle + [b"*"] * is_open
    text = ".".join("*" if label == b"*" else names.below(label, names.ROOT)[:-1] for label in pattern)
    if (is_below or is_open) and "\\" in text:
        return  # a pattern has no escapes beside a *
    assert NamePatterns([text]).match(name, ZONE) is by_labels(pattern, labels), (text, name)


# --- rules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "request_", "is_allowed"),
    [
        ("cert-manager", put("example.org", "_acme-challenge"), True),
        ("cert-manager", put("EXAMPLE.org.", "_ACME-Challenge.www", "txt"), True),
        ("cert-manager", put("a.b.example.org", "_acme-challenge.x.y"), True),
        ("cert-manager", put("evil-example.org", "_acme-challenge"), False),
        ("cert-manager", put("example.org", "_acme-challenge", "TYPE16"), True),
        ("shop", put("shop.example", "@", "type2"), False),
        ("cert-manager", put("example.org", "_acme-challengex"), False),
        ("cert-manager", put("example.org", "www"), False),
        ("cert-manager", put("example.org", "@"), False),
        ("cert-manager", put("example.org", "_acme-challenge", "A"), False),
        ("cert-manager", put("example.org", "_acme-challenge", force=True), False),
        ("cert-manager", parse_request("delete_zone", {"zone": "example.org"}), False),
        ("shop", put("xn--bcher-kva.example", "www"), True),
        ("shop", put("bücher.example", "@", "NS"), False),
        ("shop", parse_request("delete_zone", {"zone": "shop.example"}), False),
        ("shop", put("shop.example", "www", force=True), False),
        ("internal", put("any.example", "www", pool="inner"), True),
        ("internal", put("any.example", "www", pool="outer"), False),
        ("internal", put("any.example", "www"), False),
        ("stranger", put("shop.example", "www"), False),
        ("Shop", put("shop.example", "www"), False),  # RabbitMQ's names have case
        (None, put("shop.example", "www"), False),
        ("", put("shop.example", "www"), False),
    ],
)
def test_who_may_do_what(user: str | None, request_: Request, is_allowed: bool) -> None:
    assert verdict(load(FILE), user, request_) is is_allowed


@pytest.mark.parametrize(
    ("user", "request_", "words"),
    [
        (
            "shop",
            parse_request("delete_zone", {"zone": "shop.example"}),
            (
                "shop may not delete_zone shop.example.: "
                "rule 2 of shop (line 12): may_not delete_zone in all zones"
            ),
        ),
        (
            "cert-manager",
            put("example.org", "www", "A"),
            "cert-manager may not put A at www.example.org. in example.org.: no rule allows it",
        ),
        (
            "internal",
            put("example.org", "www", "A"),
            (
                "internal may not put A at www.example.org. in example.org.: no rule allows it; internal may "
                "do it in pool inner: say so with pool="
            ),
        ),
        (
            "stranger",
            put("example.org", "www", "A"),
            (
                "stranger may not put A at www.example.org. in example.org.: no rule allows it; the user "
                "isn't named, and the default is closed"
            ),
        ),
        (
            None,
            put("example.org", "www", "A"),
            (
                "nobody may not put A at www.example.org. in example.org.: no rule of `anonymous` allows "
                "it, and the message has no user_id: set it to the user of the connection"
            ),
        ),
        ("a\nb", put("example.org", "www", "A"), "a\\010b may not put A at"),
    ],
)
def test_a_refusal_names_the_rule_or_its_lack_in_one_line(
    user: str | None, request_: Request, words: str
) -> None:
    refusal = load(FILE).refusal(user, request_)
    assert isinstance(refusal, Forbidden)
    assert refusal.message.startswith(words) if user == "a\nb" else refusal.message == words
    assert "\n" not in refusal.message


def sample(kind: str) -> dict[str, Any]:
    """Arguments of an operation on example.org."""
    more: dict[str, dict[str, Any]] = {
        "create_zone": {"email": "a@example.org"}, "update_zone": {"ttl": 60}, "delete_zone": {},
        "import_zone": {"text": ""}, "restore_zone": {"serial": 1}, "move_zone": {"to": "inner"},
        "delete_record": {"name": "www", "type": "A"},
        "change_zone": {"changes": [{"action": "delete", "name": "www", "type": "A"}]},
    }  # fmt: skip
    record = {"name": "www", "type": "A", "data": ["192.0.2.1"]}
    return {"zone": "example.org", **more.get(kind, record)}


@pytest.mark.parametrize("kind", sorted(OPERATIONS))
def test_every_operation_needs_something_and_force_besides(kind: str) -> None:
    permissions = of("all", {"may": "all", "zones": "example.org"})
    request = parse_request(kind, sample(kind))
    assert verdict(permissions, "all", request)
    assert not verdict(of("none", {"may": "force", "zones": "*"}), "none", request)
    assert not verdict(of("other", {"may": ["all", "force"], "zones": "example.com"}), "other", request)
    forced = parse_request(kind, {**sample(kind), "force": True})
    refusal = permissions.refusal("all", forced)
    assert refusal is not None
    assert "all may not force in example.org." in refusal.message
    assert verdict(of("both", {"may": ["all", "force"], "zones": "*"}), "both", forced)


@pytest.mark.parametrize("kind", sorted(OPERATIONS))
def test_a_word_allows_its_own_operation_and_what_it_could_do_anyway(kind: str) -> None:
    request = parse_request(kind, sample(kind))
    (own,) = {demand.word for demand in demands_of(request)}
    allowing = {
        word
        for word in (*RECORD_WORDS, *ZONE_WORDS, "read")
        if verdict(of("one", {"may": word, "zones": "*"}), "one", request)
    }
    assert allowing == {own} | ({"put"} if own in ("create", "update") else set())


def test_questions_need_read_for_all_that_they_ask_for() -> None:
    permissions = of(
        "one", {"may": "read", "zones": "example.org", "names": "_acme-challenge.*", "types": "TXT"}
    )

    def may(kind: str, **arguments: Any) -> bool:
        try:
            permissions.check_question("one", parse_query(kind, {"zone": "example.org", **arguments}))
        except Forbidden:
            return False
        return True

    assert may("list_records", name="_acme-challenge.www", type="TXT")
    assert not may("list_records", name="_acme-challenge.www")
    assert not may("list_records", name="www", type="TXT")
    assert not may("list_records", type="TXT")
    assert not may("list_records")
    for kind in ("show_zone", "export_zone", "show_history"):
        assert not may(kind)
    # Of whose answers part may be read; whatever tells of a zone needs all of it to be readable.
    others = {"list_records", "show_operation", "dry_run"}
    assert {kind for kind in QUERIES if not issubclass(QUERIES[kind], ZoneQuery)} < others
    assert set(QUERIES) - others == {"show_zone", "export_zone", "show_history"}, "judge what it tells"
    with pytest.raises(Forbidden, match=r"may not read example\.org"):
        permissions.check_question("one", parse_query("show_history", {"zone": "example.org", "name": "www"}))


@pytest.mark.parametrize("kind", sorted(OPERATIONS))
def test_a_dry_run_needs_to_read_what_it_shows(kind: str) -> None:
    request = parse_request(kind, sample(kind))
    for may_read_rrset, rule in [
        (True, {"names": "www", "types": "A"}),
        (False, {"names": "www", "types": "AAAA"}),
        (False, {"names": "mail"}),
    ]:
        permissions = of("one", {"may": "read", "zones": "example.org", **rule})
        if may_read_rrset and request.changes:
            permissions.check_dry_run("one", request)
            continue
        with pytest.raises(Forbidden, match="one may not read"):
            permissions.check_dry_run("one", request)
    of("one", {"may": "read", "zones": "example.org"}).check_dry_run("one", request)


def test_what_is_limited_to_names_concerns_no_operation_on_the_whole_zone() -> None:
    limited = {"zones": "*", "names": "www"}
    permissions = of("one", {"may": list(RECORD_WORDS), **limited})
    assert verdict(permissions, "one", put("example.org", "www"))
    for kind in ("import_zone", "restore_zone", "delete_zone"):
        request = parse_request(kind, sample(kind))
        assert not verdict(permissions, "one", request)
        # … but what mustn't be touched mustn't be touched by these either
        refused = of("one", {"may": "all", "zones": "*"}, {"may_not": "delete", **limited})
        assert not verdict(refused, "one", request)
    assert verdict(refused, "one", parse_request("update_zone", sample("update_zone")))


@pytest.mark.parametrize(
    ("refused", "gone"),
    [
        ("create", {"create", "put"}),
        ("update", {"update", "put"}),
        ("delete", {"delete"}),
        ("put", {"create", "update", "put"}),
        ("all", {"create", "update", "put", "delete"}),
        ("read", set()),
    ],
)
def test_what_is_refused_can_not_be_done_by_another_word(refused: str, gone: set[str]) -> None:
    permissions = of("one", {"may": ["all", "force"], "zones": "*"}, {"may_not": refused, "zones": "*"})
    left = {
        word
        for word in RECORD_WORDS
        if verdict(permissions, "one", parse_request(f"{word}_record", sample(f"{word}_record")))
    }
    assert left == set(RECORD_WORDS) - gone


def test_a_rule_for_a_pool_allows_where_it_is_named_and_refuses_where_it_may_be() -> None:
    allowed = of("one", {"may": "all", "zones": "*", "pools": ["inner", "test"]})
    refused = of("one", {"may": "all", "zones": "*"}, {"may_not": "all", "zones": "*", "pools": "inner"})
    for pool, by_allowing, by_refusing in (
        ("inner", True, False),
        ("outer", False, True),
        (None, False, False),
    ):
        request = put("example.org", "www", pool=pool)
        assert verdict(allowed, "one", request) is by_allowing
        assert verdict(refused, "one", request) is by_refusing


@pytest.mark.parametrize(
    ("pool", "to", "is_allowed"),
    [
        ("inner", "test", True),
        ("inner", "outer", False),
        ("outer", "inner", False),
        (None, "inner", False),
    ],
)
def test_a_move_needs_both_pools(pool: str | None, to: str, is_allowed: bool) -> None:
    permissions = of("one", {"may": "move_zone", "zones": "*", "pools": ["inner", "test"]})
    request = parse_request("move_zone", {"zone": "example.org", "pool": pool, "to": to})
    assert verdict(permissions, "one", request) is is_allowed


def test_whom_nobody_named_has_the_default_and_nobody_never_has() -> None:
    request = put("example.org", "www")
    listed = {"known": [{"may": "read", "zones": "*"}]}
    for default in ("open", "closed"):
        document = {"default": default, "users": listed}
        permissions = load(json.dumps(document, indent=1))
        assert verdict(permissions, "stranger", request) is (default == "open")
        assert not verdict(permissions, "known", request)
        # Else whoever is limited would leave the user out.
        assert not verdict(permissions, None, request)
        assert not verdict(permissions, "", request)
        everybody = {"everybody": [{"may_not": "put", "zones": "example.org"}]}
        assert not verdict(load(json.dumps(document | everybody, indent=1)), "stranger", request)
    anonymous = {"anonymous": [{"may": "put", "zones": "example.org"}]}
    assert verdict(load(json.dumps(document | anonymous, indent=1)), None, request)
    assert not verdict(load(json.dumps(document | anonymous, indent=1)), "stranger", request)


def test_a_user_without_rules_may_do_nothing() -> None:
    permissions = load("default: open\nusers:\n  retired:\n")
    assert not verdict(permissions, "retired", put("example.org", "www"))


def test_without_a_file_everybody_may_do_everything() -> None:
    permissions = Permissions.unlimited()
    assert verdict(permissions, None, put("example.org", "www", force=True))
    assert permissions.may_read(None, ZONE, None)


RULES = st.fixed_dictionaries(
    {
        "words": st.lists(st.sampled_from([*RECORD_WORDS, "read"]), min_size=1, max_size=2, unique=True),
        "zones": st.sampled_from(["example.org", "*.example.org", "*", ["a.example.org", "example.com"]]),
    },
    optional={
        "names": st.sampled_from(["@", "www", "*.dev", "_acme-challenge.*", ["www", "@"]]),
        "types": st.sampled_from(["A", ["A", "TXT"]]),
        "pools": st.sampled_from(["inner", ["inner", "outer"]]),
    },
)
DEMANDS = st.builds(
    Demand,
    st.sampled_from([*RECORD_WORDS, "read", "import_zone", "delete_zone"]),
    st.sampled_from([ZONE, Name("a.example.org.")]),
    st.sampled_from([None, "inner", "outer"]),
).flatmap(
    lambda one: (
        st.just(one)
        if one.word in ZONE_WORDS
        else st.builds(
            Demand,
            st.just(one.word),
            st.just(one.zone),
            st.just(one.pool),
            st.sampled_from([Name(left + one.zone) for left in ("", "www.", "x.dev.", "_acme-challenge.")]),
            st.sampled_from(["A", "TXT"]),
        )
    )
)


def rules_of(drawn: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {kind: rule["words"], **{key: value for key, value in rule.items() if key != "words"}}
        for kind, rule in drawn
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["may", "may_not"]), RULES), min_size=1, max_size=5),
    RULES,
    DEMANDS,
    st.randoms(),
)
def test_refusals_win_and_the_order_of_rules_does_not_matter(
    drawn: list[tuple[str, dict[str, Any]]], another: dict[str, Any], demand: Demand, shuffler: random.Random
) -> None:
    def decide(*more: tuple[str, dict[str, Any]]) -> bool:
        rules = rules_of([*drawn, *more])
        (first,) = of("one", *rules).explain("one", [demand])
        shuffler.shuffle(rules)
        (again,) = of("one", *rules).explain("one", [demand])
        assert first.is_allowed is again.is_allowed
        return first.is_allowed

    before = decide()
    assert not before or decide(("may", another)), "a rule that allows took something away"
    assert before or not decide(("may_not", another)), "a rule that refuses gave something"


@given(
    st.lists(st.tuples(st.sampled_from(["may", "may_not"]), RULES), min_size=1, max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["put", "delete"]),
            st.sampled_from(["@", "www", "x.dev", "_acme-challenge"]),
            st.sampled_from(["A", "TXT"]),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda wish: wish[1:],
    ),
)
def test_a_change_is_allowed_when_each_of_it_is(
    drawn: list[tuple[str, dict[str, Any]]], wishes: list[tuple[str, str, str]]
) -> None:
    permissions = of("one", *rules_of(drawn))
    data = {"A": "192.0.2.1", "TXT": "x"}
    changes = [
        {
            "action": action,
            "name": name,
            "type": type_,
            **({"data": [data[type_]]} if action == "put" else {}),
        }
        for action, name, type_ in wishes
    ]
    singles = [
        parse_request(
            f"{change['action']}_record",
            {"zone": "example.org", **{k: v for k, v in change.items() if k != "action"}},
        )
        for change in changes
    ]
    whole = parse_request("change_zone", {"zone": "example.org", "changes": changes})
    assert verdict(permissions, "one", whole) is all(verdict(permissions, "one", one) for one in singles)


def test_a_thousand_rules_are_found_by_their_zones() -> None:
    rules = [{"may": "all", "zones": [f"z{n}.example", f"*.z{n}.example"]} for n in range(1000)]
    permissions = of("many", *rules)
    assert verdict(permissions, "many", put("a.z7.example", "www"))
    looked_at = permissions._book("many").concerning(Name("a.z7.example."))
    assert [one.number for one in looked_at] == [8]
