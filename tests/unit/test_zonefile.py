"""Zone files: what is read as what, what is refused on which line, and that a written zone reads back equal."""

# ruff: noqa: E501 - a table of cases reads best with one case on a line

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsworker import names
from dnsworker.contents import ZoneContents
from dnsworker.errors import InvalidZoneFile
from dnsworker.names import Name
from dnsworker.records import SOA, RRset
from dnsworker.zonefile import ParsedZone, parse_zone, zone_text
from tests.samples import COMPANIONS, SAMPLES

ZONE = Name("example.org.")
SOME_SOA = SOA(Name("ns1.example.org."), Name("hostmaster.example.org."), 2026112301)


def parse(text: str, default_ttl: int = 3600) -> ParsedZone:
    return parse_zone(text, ZONE, default_ttl)


def contents(parsed: ParsedZone) -> ZoneContents:
    return ZoneContents.of(ZONE, parsed.soa or SOME_SOA, parsed.rrsets)


def test_a_file_with_everything_in_it() -> None:
    parsed = parse(r"""
; a comment; with "quotes and (parentheses
$TTL 1h
@   IN  SOA ns1 host\.master (
            2026112301  ; serial
            2h          ; refresh (with a parenthesis in the comment
            10m 1d
            300 )       ; and more
        IN  NS  ns1
            NS  ns2.example.net.
        300 IN MX 10 mail
        IN 300 MX 20 mail2.example.net.
ns1     A       192.0.2.1
        AAAA    2001:db8::1
mail    600 A   192.0.2.2   ; trailing comment
www     CNAME   @
WWW2    in  cname   WWW
txt     TXT     "semi;colon" (
                "second (line" word
        )
        TXT     "escaped \" quote and \\ backslash; \255"
svc     HTTPS   1 . alpn="h2,h3" port=443
*       A       192.0.2.9
_sip._tcp SRV   0 5 5060 sip
_443._tcp.www3  TLSA 3 1 1 (
        d2abde240d7cd3ee6b4b28c54df034b9
        7983a1d16e8a410e4561cb106618e971 )
new     TYPE65280 \# 2 ( ab
                         cd )
abs.example.org. A 192.0.2.3
$ORIGIN sub
@       A       192.0.2.4
a       A       192.0.2.5
b       CNAME   a
$ORIGIN example.org.
$TTL 60
short   A       192.0.2.6
""")
    assert parsed.soa == SOA(
        Name("ns1.example.org."), Name(r"host\.master.example.org."), 2026112301, 7200, 600, 86400, 300, 3600
    )
    expected = {
        ("example.org.", "NS", 3600): ("ns1.example.org.", "ns2.example.net."),
        ("example.org.", "MX", 300): ("10 mail.example.org.", "20 mail2.example.net."),
        ("ns1.example.org.", "A", 3600): ("192.0.2.1",),
        ("ns1.example.org.", "AAAA", 3600): ("2001:db8::1",),
        ("mail.example.org.", "A", 600): ("192.0.2.2",),
        ("www.example.org.", "CNAME", 3600): ("example.org.",),
        ("www2.example.org.", "CNAME", 3600): ("www.example.org.",),
        ("txt.example.org.", "TXT", 3600): (
            '"semi;colon" "second (line" "word"',
            r'"escaped \" quote and \\ backslash; \255"',
        ),
        ("svc.example.org.", "HTTPS", 3600): ('1 . alpn="h2,h3" port="443"',),
        ("*.example.org.", "A", 3600): ("192.0.2.9",),
        ("_sip._tcp.example.org.", "SRV", 3600): ("0 5 5060 sip.example.org.",),
        ("_443._tcp.www3.example.org.", "TLSA", 3600): (
            "3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971",
        ),
        ("new.example.org.", "TYPE65280", 3600): (r"\# 2 abcd",),
        ("abs.example.org.", "A", 3600): ("192.0.2.3",),
        ("sub.example.org.", "A", 3600): ("192.0.2.4",),
        ("a.sub.example.org.", "A", 3600): ("192.0.2.5",),
        ("b.sub.example.org.", "CNAME", 3600): ("a.sub.example.org.",),
        ("short.example.org.", "A", 60): ("192.0.2.6",),
    }
    assert {(rrset.name, rrset.type, rrset.ttl): rrset.data for rrset in parsed.rrsets} == expected


def test_a_file_without_a_soa_or_ttl_leaves_both_to_the_caller() -> None:
    assert parse("www A 192.0.2.1", 77) == ParsedZone(
        None, (RRset("www.example.org.", "A", 77, ["192.0.2.1"]),)
    )
    assert parse("") == ParsedZone(None, ())
    assert parse("\n  \n; nothing\n\t\n") == ParsedZone(None, ())


def test_a_ttl_that_is_missing_is_that_of_the_directive_else_the_last_one_else_the_default() -> None:
    def ttls(text: str) -> list[int]:
        return [rrset.ttl for rrset in parse(text, 9).rrsets]

    assert ttls("a A 192.0.2.1\nb 5 A 192.0.2.1\nc A 192.0.2.1") == [9, 5, 5]
    assert ttls("$TTL 7\na A 192.0.2.1\nb 5 A 192.0.2.1\nc A 192.0.2.1") == [7, 5, 7]
    assert ttls("a 1h30m A 192.0.2.1\nb 0 A 192.0.2.1\nc A 192.0.2.1") == [5400, 0, 0]


def test_different_ttls_in_one_rrset_count_as_the_lowest() -> None:  # RFC 2181, section 5.2
    assert parse("a 300 A 192.0.2.1\na 60 A 192.0.2.2\na 600 A 192.0.2.3").rrsets == (
        RRset("a.example.org.", "A", 60, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
    )


def test_an_rrset_may_be_spread_over_origins() -> None:
    parsed = parse("@ MX 10 mail\n$ORIGIN sub\n@ A 192.0.2.1\nexample.org. MX 20 mail\n")
    assert parsed.rrsets[0].data == ("10 mail.example.org.", "20 mail.sub.example.org.")


def test_a_name_without_its_dot_is_relative_even_if_it_looks_whole() -> None:
    assert [rrset.name for rrset in parse("www.example.org A 192.0.2.1").rrsets] == [
        "www.example.org.example.org."
    ]


def test_names_that_look_like_something_else_are_names() -> None:
    parsed = parse("300 A 192.0.2.1\nin A 192.0.2.1\nns NS a\na NS ns\n")
    assert [(rrset.name, rrset.type) for rrset in parsed.rrsets] == [
        ("300.example.org.", "A"),
        ("in.example.org.", "A"),
        ("ns.example.org.", "NS"),
        ("a.example.org.", "NS"),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_and_a_byte_order_mark_are_no_data(newline: str) -> None:
    text = newline.join(
        ["\ufeff$TTL 60", "@ SOA ns1 h (1 2 ; x", " 3 4 5)", 'a TXT "x"', "b A 192.0.2.1", ""]
    )
    parsed = parse(text)
    assert parsed.soa is not None
    assert parsed.soa.serial == 1
    assert [rrset.data for rrset in parsed.rrsets] == [('"x"',), ("192.0.2.1",)]


def test_a_tab_in_a_text_is_kept_as_an_escape() -> None:
    assert parse('a TXT "x\ty"').rrsets[0].data == (r'"x\009y"',)


def test_the_output_of_a_transfer_has_the_soa_at_both_ends() -> None:
    line = f"example.org.\t3600\tIN\tSOA\t{SOME_SOA.rdata}\n"
    assert parse(line + "www A 192.0.2.1\n" + line).soa == SOME_SOA


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a A 192.0.2\nb A 192.0.2.1\n\nc MX 10",
            "line 1: a.example.org. A: 192.0.2 is not A data; write it like 192.0.2.1; line 4: c.example.org. MX: 10 is not MX data (expecting an identifier); write it like 10 mail.example.org.",
        ),
        ("a A 192.0.2.1\na A 1", "line 2: a.example.org. A: 1 is not A data; write it like 192.0.2.1"),
        ("a CNAME b\na CNAME c", "line 1: a.example.org. CNAME: a name has one CNAME at most, not 2"),
        ('a A 192.0.2.1\nb TXT "x', "line 2: a quote doesn't end: \"x"),
        ('a TXT "x\ny"', "line 1: a quote doesn't end: \"x"),
        ("\na TXT (\n x", "line 2: a parenthesis opened here doesn't close"),
        ("a TXT x )", "line 1: a parenthesis closes that was never opened"),
        ("a TXT x\\", "line 1: the line ends in a backslash: \\"),
        (" A 192.0.2.1", "line 1: the record has no owner name, and none stands before it"),
        (
            "a..b A 192.0.2.1\n TXT x",
            "line 1: a..b has an empty label: two dots in a row, or one at the start; line 2: the record has no owner name, and none stands before it",
        ),
        ("$GENERATE 1-9 a$ A 192.0.2.$", "line 1: $GENERATE is not supported: write the records out"),
        ("$include /etc/passwd", "line 1: $INCLUDE is not supported: write the records out"),
        ("$FOO 1", "line 1: there is no directive $FOO; there are $ORIGIN and $TTL"),
        ("$TTL", "line 1: $TTL takes one value"),
        ("$TTL x", "line 1: x is no TTL"),
        ("$TTL 2147483648", "line 1: the TTL goes from 0 to 2147483647 seconds, not 2147483648"),
        ("$ORIGIN a..b", "line 1: a..b has an empty label: two dots in a row, or one at the start"),
        ("a.example.com. A 192.0.2.1", "line 1: a.example.com. is not in the zone example.org."),
        ("a CH TXT x", "line 1: a.example.org.: class CH is not supported, only IN"),
        ("a 300 IN", "line 1: a.example.org.: the record has no type"),
        ("a", "line 1: a.example.org.: the record has no type"),
        ("a A", "line 1: a.example.org. A: a record's data is empty"),
        (
            "a FOO x",
            "line 1: there is no record type FOO; write one such as A or MX, or TYPE65280 for a number",
        ),
        ("a RRSIG x", "line 1: RRSIG is never written by hand: it comes from the server that signs the zone"),
        ("a SOA . . 1 2 3 4 5", "line 1: a.example.org. SOA: only the apex example.org. has one"),
        ("@ SOA . . 1 2 3 4 5\n@ SOA . . 2 2 3 4 5", "line 2: example.org. SOA: there is another one before"),
        ("@ SOA . . 1 2 3 4", "line 1: . . 1 2 3 4 is not SOA data (expecting an identifier)"),
        ("a TXT \x01", r'line 1: a.example.org. TXT: a control character in "\001": write it as \001'),
        ("a*b A 192.0.2.1", "line 1: a*b: a * stands only alone and as the first label, like *.example.org."),
    ],
)
def test_a_bad_file_is_refused_with_line_and_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidZoneFile) as refusal:
        parse(text)
    assert refusal.value.message == message


def test_a_file_of_the_wrong_kind_gives_a_message_of_bearable_length() -> None:
    with pytest.raises(InvalidZoneFile, match=r"; and 990 more$") as refusal:
        parse("".join(f"h{n} A nonsense\n" for n in range(1000)))
    assert len(str(refusal.value)) < 1500


def test_parentheses_and_quotes_without_end_are_read_in_time() -> None:
    for text in (
        "(" * 100_000,
        '"' * 99_999,
        "a TXT " + '"x" ' * 40_000,
        "a TXT " + "\\" * 99_999,
        "a " * 50_000,
    ):
        started = time.process_time()
        with pytest.raises(InvalidZoneFile):
            parse(text)
        assert time.process_time() - started < 5


# --- there and back -------------------------------------------------------------------------------------------------


def test_every_type_is_written_and_read() -> None:
    for choice in (0, -1):
        rrsets = [
            RRset(f"{pairs[choice][0]}.example.org.", type_, 300, pairs[choice][1])
            for type_, pairs in SAMPLES.items()
        ]
        rrsets += [
            RRset(f"{SAMPLES[type_][0][0]}.example.org.", other, 300, data)
            for type_, (other, data) in COMPANIONS.items()
        ]
        zone = ZoneContents.of(ZONE, SOME_SOA, rrsets)
        assert len(zone.rrsets) == len(rrsets), "owners differ between types"
        assert contents(parse(zone_text(zone))) == zone


labels = st.binary(min_size=1, max_size=6).filter(lambda label: b"*" not in label)
owners = st.lists(labels, max_size=3).map(
    lambda parts: names.absolute_name(
        "".join("".join(f"\\{octet:03d}" for octet in part) + "." for part in parts) + ZONE
    )
)
strings = st.lists(st.binary(max_size=20), min_size=1, max_size=3).map(
    lambda parts: " ".join('"' + "".join(f"\\{octet:03d}" for octet in part) + '"' for part in parts)
)
rrsets = st.one_of(
    st.builds(
        lambda owner, ttl, data: RRset(owner, "TXT", ttl, data),
        owners, st.integers(0, 2**31 - 1), st.lists(strings, min_size=1, max_size=3),
    ),
    st.builds(lambda owner, target: RRset(owner, "NS", 300, [target]), owners, owners),
    st.builds(
        lambda owner, octets: RRset(owner, "TYPE65280", 300, [rf"\# {len(octets)} {octets.hex()}"]),
        owners, st.binary(max_size=80),
    ),
)  # fmt: skip


@given(st.lists(rrsets, max_size=8), st.integers(0, 2**32 - 1))
def test_a_written_zone_reads_back_equal(some: list[RRset], serial: int) -> None:
    zone = ZoneContents.of(ZONE, SOME_SOA.with_serial(serial), some)
    text = zone_text(zone)
    assert contents(parse(text)) == zone
    assert zone_text(contents(parse(text))) == text
    reversed_zone = ZoneContents.of(ZONE, zone.soa, list(zone.rrsets.values())[::-1])
    assert zone_text(reversed_zone) == text


@given(st.text(alphabet=st.sampled_from('ab1 \t\n\r"\\();@$*.A'), max_size=40) | st.text(max_size=40))
def test_whatever_a_file_holds_is_read_or_refused_with_a_line(text: str) -> None:
    said = "line"
    try:
        parse(text)
    except InvalidZoneFile as exc:
        said = str(exc)
    assert said.startswith("line")
    assert "\n" not in said


def test_the_text_is_in_canonical_order() -> None:
    zone = ZoneContents.of(
        ZONE,
        SOME_SOA,
        [
            RRset("b.example.org.", "TXT", 60, ["x"]),
            RRset("b.example.org.", "A", 60, ["192.0.2.2", "192.0.2.1"]),
            RRset("z.a.example.org.", "A", 60, ["192.0.2.1"]),
            RRset("*.example.org.", "A", 60, ["192.0.2.1"]),
            RRset("example.org.", "A", 60, ["192.0.2.1"]),
            RRset("example.org.", "NS", 60, ["ns1.example.org."]),
        ],
    )
    assert zone_text(zone).splitlines() == [
        "example.org.\t3600\tIN\tSOA\tns1.example.org. hostmaster.example.org. 2026112301 3600 600 86400 3600",
        "example.org.\t60\tIN\tNS\tns1.example.org.",
        "example.org.\t60\tIN\tA\t192.0.2.1",
        "*.example.org.\t60\tIN\tA\t192.0.2.1",
        "z.a.example.org.\t60\tIN\tA\t192.0.2.1",
        "b.example.org.\t60\tIN\tA\t192.0.2.1",
        "b.example.org.\t60\tIN\tA\t192.0.2.2",
        'b.example.org.\t60\tIN\tTXT\t"x"',
    ]


def test_thirty_thousand_records_are_read_and_written_in_a_moment() -> None:
    lines = [f"h{n} 300 IN A 10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(30_000)]
    started = time.process_time()
    zone = contents(parse("\n".join(lines)))
    assert contents(parse(zone_text(zone))) == zone
    assert time.process_time() - started < 6  # 1 s on an idle machine
