"""Names: what users may type, what comes out, and how names lie to each other."""

# ruff: noqa: E501 - a table of cases reads best with one case on a line

from __future__ import annotations

import itertools

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsworker import names
from dnsworker.errors import InvalidName
from dnsworker.names import Name

ZONE = Name("example.org.")

labels = st.one_of(
    st.sampled_from(
        [b"a", b"b", b"www", b"_tcp", b"a.b", b"a\\", b"a b", b"\\.", b"\x00", b"\xff", b"example"]
    ),
    st.binary(min_size=1, max_size=8),
)
octet_names = st.lists(labels, max_size=5).map(
    lambda parts: names.from_dnspython(dns.name.Name([*parts, b""]))
)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("example.org", "example.org."),
        ("example.org.", "example.org."),
        ("EXAMPLE.Org", "example.org."),
        ("org", "org."),
        ("2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa."),
        ("0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa."),  # RFC 2317
        ("bücher.example", "xn--bcher-kva.example."),
        ("BÜCHER.example", "xn--bcher-kva.example."),
        ("faß.example", "xn--fa-hia.example."),  # IDNA 2008 keeps ß; IDNA 2003 wrote ss
        ("例え。テスト", "xn--r8jz45g.xn--zckzah."),
        ("xn--bcher-kva.example", "xn--bcher-kva.example."),
        ("_msdcs.example.org", "_msdcs.example.org."),
        (r"a\.b.example", r"a\.b.example."),
        (r"\097.example", "a.example."),
        (r"\065.example", "a.example."),
        ("x" * 63 + ".example", "x" * 63 + ".example."),
    ],
)
def test_a_zone_name_becomes_canonical(typed: str, name: str) -> None:
    assert names.zone_name(typed) == name


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "the name is empty"),
        (".", "the root zone can't be managed here; name a zone such as example.org."),
        ("*.example.org", "*.example.org: a zone's name can't contain a wildcard"),
        ("a..b", "a..b has an empty label: two dots in a row, or one at the start"),
        (".a", ".a has an empty label: two dots in a row, or one at the start"),
        ("..", ".. has an empty label: two dots in a row, or one at the start"),
        ("x" * 64, "x" * 64 + ": a label has 64 octets, and 63 is the limit"),
        (
            ".".join(["x" * 63] * 4),
            "x" * 63 + "." + "x" * 13 + "…: the name has 257 octets, and 255 is the limit",
        ),
        ("a b.example", r"a b.example: ' ' can't stand in a name as it is; if it is meant, write \032"),
        ("me@example.org", r"me@example.org: '@' can't stand in a name as it is; if it is meant, write \@"),
        ("a\tb", r"a\009b contains a control character: write it as \009"),
        ("a\nb", r"a\010b contains a control character: write it as \010"),
        (r"a\300", r"a\300: \300 is no octet; they go from \000 to \255"),
        (
            "a\\1.b",
            r"a\1.b: a backslash is followed by three digits from 000 to 255, or by a character that is no digit",
        ),
        (
            "a\\",
            "a\\: a backslash is followed by three digits from 000 to 255, or by a character that is no digit",
        ),
        (r"ü\046b", r"ü\046b: a label has either escapes or Unicode, not both"),
    ],
)
def test_a_bad_zone_name_is_refused_with_the_reason(typed: str, message: str) -> None:
    with pytest.raises(InvalidName) as refusal:
        names.zone_name(typed)
    assert refusal.value.message == message


def test_what_idna_does_not_allow_is_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidName, match=r"not allowed by IDNA 2008 .* write its A-label \(xn--…\)"):
        names.zone_name("😀.example")


@pytest.mark.parametrize("typed", [None, 5, b"example.org", ["example.org"]])
def test_a_name_that_is_not_text_is_refused(typed: object) -> None:
    for judge in (names.zone_name, names.absolute_name, lambda text: names.record_name(text, ZONE)):
        with pytest.raises(InvalidName, match="a name is text"):
            judge(typed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("@", "example.org."),
        ("www", "www.example.org."),
        ("WWW", "www.example.org."),
        ("a.b", "a.b.example.org."),
        ("*", "*.example.org."),
        ("*.sub", "*.sub.example.org."),
        ("www.example.org.", "www.example.org."),
        ("example.org.", "example.org."),
        ("Example.ORG.", "example.org."),
        ("_sip._tcp", "_sip._tcp.example.org."),
        ("myexample.org", "myexample.org.example.org."),
        (r"a\.", r"a\..example.org."),
        (r"x\.example.org", r"x\.example.org.example.org."),
        (r"x.\000\255", r"x.\000\255.example.org."),
        (r"\@", r"\@.example.org."),
        ("größe", "xn--gre-6ka8i.example.org."),
    ],
)
def test_a_record_name_is_at_sign_relative_or_absolute(typed: str, name: str) -> None:
    assert names.record_name(typed, ZONE) == name


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "the record's name is empty: write @ for example.org. itself"),
        (
            "www.Example.org",
            "www.Example.org is ambiguous: it ends in the zone's name but not in a dot; write www.example.org. (or www) if it is that name, else www.example.org.example.org.",
        ),
        (
            "example.org",
            "example.org is ambiguous: it ends in the zone's name but not in a dot; write example.org. (or @) if it is that name, else example.org.example.org.",
        ),
        ("www.example.com.", "www.example.com. is not in the zone example.org."),
        ("org.", "org. is not in the zone example.org."),
        (r"foo\.example.org.", r"foo\.example.org. is not in the zone example.org."),
        ("a.*", "a.*: a * stands only alone and as the first label, like *.example.org."),
        ("*a", "*a: a * stands only alone and as the first label, like *.example.org."),
        ("*.*", "*.*: a * stands only alone and as the first label, like *.example.org."),
    ],
)
def test_a_bad_record_name_is_refused_with_the_reason(typed: str, message: str) -> None:
    with pytest.raises(InvalidName) as refusal:
        names.record_name(typed, ZONE)
    assert refusal.value.message == message


def test_an_absolute_name_needs_its_dot() -> None:
    assert names.absolute_name("WWW.example.") == "www.example."
    assert names.absolute_name(".") == "."
    with pytest.raises(InvalidName, match=r"www\.example must end in a dot: write www\.example\.$"):
        names.absolute_name("www.example")


def test_the_longest_name_is_taken_and_one_octet_more_is_not() -> None:
    longest = ".".join(["x" * 63, "x" * 63, "x" * 63, "y" * 61]) + "."
    assert names.wire_size(names.absolute_name(longest)) == 255
    with pytest.raises(InvalidName, match="the name has 256 octets"):
        names.absolute_name(longest.replace("y", "yy", 1))
    with pytest.raises(InvalidName, match="the name has 257 octets"):
        names.below(b"a", Name(longest))


@given(octet_names)
def test_a_canonical_name_stays_as_it_is(name: Name) -> None:
    assert names.from_dnspython(names.to_dnspython(name)) == name
    assert names.from_dnspython(dns.name.from_text(name)) == name
    if b"*" not in b"".join(names.split_labels(name)):
        assert names.absolute_name(name) == name


@given(octet_names, octet_names)
def test_names_are_equal_exactly_when_dns_says_so(one: Name, other: Name) -> None:
    assert (one == other) == (dns.name.from_text(one) == dns.name.from_text(other))


@given(octet_names, octet_names)
def test_lying_within_is_what_dns_calls_a_subdomain(one: Name, other: Name) -> None:
    expected = dns.name.from_text(one).is_subdomain(dns.name.from_text(other))
    assert names.is_within(one, other) == expected
    assert names.sort_key(one).startswith(names.sort_key(other)) == expected


@given(octet_names, labels)
def test_everything_below_a_name_lies_within_it(name: Name, label: bytes) -> None:
    lower = names.below(label, name)
    assert names.is_within(lower, name)
    assert names.sort_key(lower).startswith(names.sort_key(name))
    assert names.parent(lower) == name
    assert names.split_labels(lower)[0] == label.lower()


@given(st.lists(octet_names, max_size=12))
def test_sorted_by_key_a_name_is_followed_by_all_that_is_below_it(some: list[Name]) -> None:
    order = sorted(some, key=names.sort_key)
    for position, name in enumerate(order):
        within = [names.is_within(other, name) for other in order[position:]]
        assert within == sorted(within, reverse=True)


@given(octet_names)
def test_the_ancestors_lead_up_to_the_zone(name: Name) -> None:
    found = names.ancestors(name, names.ROOT)
    assert len(found) == len(names.split_labels(name))
    assert found == [] if name == names.ROOT else found[-1] == names.ROOT
    for lower, upper in itertools.pairwise([name, *found]):
        assert names.parent(lower) == upper


@given(octet_names)
def test_the_wire_size_is_that_of_the_wire(name: Name) -> None:
    assert names.wire_size(name) == len(names.to_dnspython(name).to_wire())


@given(st.text(max_size=30))
def test_whatever_is_typed_gives_a_canonical_name_or_one_line(typed: str) -> None:
    try:
        name = names.record_name(typed, ZONE)
    except InvalidName as exc:
        said = str(exc)
    else:
        said = ""
        assert names.absolute_name(name) == name
        assert names.is_within(name, ZONE)
    assert "\n" not in said
    assert len(said) < 500


def test_ancestors_of_some_names() -> None:
    assert names.ancestors(Name("a.b.example.org."), ZONE) == ["b.example.org.", "example.org."]
    assert names.ancestors(ZONE, ZONE) == []
    with pytest.raises(InvalidName, match="not in the zone"):
        names.ancestors(Name("a.example.com."), ZONE)


def test_parents_and_wildcards() -> None:
    assert names.parent(Name("org.")) == "."
    assert names.parent(Name(r"a\.b.org.")) == "org."
    with pytest.raises(InvalidName, match="the root has no parent"):
        names.parent(names.ROOT)
    assert names.wildcard_below(ZONE) == "*.example.org."
    assert names.wildcard_below(names.ROOT) == "*."


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("@", "sub.example.org."),
        ("www", "www.sub.example.org."),
        ("example.org", "example.org.sub.example.org."),
        ("a.example.com.", "a.example.com."),
        (r"a\.", r"a\..sub.example.org."),
        ("WWW", "www.sub.example.org."),
    ],
)
def test_a_name_in_a_zone_file_is_relative_to_the_origin(written: str, name: str) -> None:
    assert names.name_in_file(written, Name("sub.example.org.")) == name


def test_a_sort_key_reads_from_the_root_down() -> None:
    assert names.sort_key(Name("www.example.org.")) == "org example www "
    assert names.sort_key(Name(r"a\032b.org.")) == r"org a\032b "
    assert names.sort_key(names.ROOT) == ""


def test_what_is_longer_than_any_name_is_not_even_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each octet escaped that took a time that grew with the square of the length."""
    longest = ".".join([r"\000" * 63] * 3 + [r"\000" * 61]) + "."
    assert names.wire_size(names.absolute_name(longest)) == names.MAX_NAME_OCTETS
    monkeypatch.setattr(names, "_split_at_dots", lambda text: pytest.fail("taken apart"))
    for text in ("\\" * 1_000_000, "a." * 600, "ä" * 1_021):
        with pytest.raises(InvalidName, match="characters are more than a name can have"):
            names.absolute_name(text)
