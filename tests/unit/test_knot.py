"""What pools.yaml may say about `knot` and `rfc2136` targets, and which answers are believed unsigned."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest
from pydantic import ValidationError

from backends.dns_tsig import TsigKey, Verifier
from backends.knot.options import KnotOptions
from backends.rfc2136 import Rfc2136Options
from dnsworker.errors import AuthenticationFailed

SIGNED = {
    "host": "192.0.2.53",
    "tsig_key_name": "dnsworker",
    "tsig_key_secret": "dHNpZyBrZXkgb2YgdGhlIGV4YW1wbGUsIG5vdCB5b3Vycw==",
}


def test_few_words_are_enough() -> None:
    knot, any_server = KnotOptions.model_validate(SIGNED), Rfc2136Options.model_validate(SIGNED)
    assert (knot.port, knot.control_socket, knot.template) == (53, "/run/knot/knot.sock", "default")
    assert (any_server.tsig_key_algorithm, any_server.check_zone) == ("hmac-sha256", None)
    assert "dHNpZy" not in repr(knot) + repr(any_server)


@pytest.mark.parametrize(
    ("model", "option", "words"),
    [
        (KnotOptions, {"control_socket": "knot.sock"}, "no absolute path"),
        (KnotOptions, {"control_socket": "/" + 107 * "x"}, "at most 107 bytes"),
        (KnotOptions, {"template": "a]b"}, "template"),
        (KnotOptions, {"tsig_key_secret": "not base64!"}, "without the quotes"),
        (Rfc2136Options, {"tsig_key_algorithm": "hmac-md5"}, "hmac-sha384"),
        (Rfc2136Options, {"tsig_key_name": "a..b"}, "no domain name"),
        (Rfc2136Options, {"port": 0}, "greater than or equal to 1"),
        (Rfc2136Options, {"check_zone": "no such..zone"}, "check_zone"),
        (Rfc2136Options, {"control_socket": "/run/knot/knot.sock"}, "control_socket"),
    ],
)
def test_what_cant_work_is_refused_with_the_reason(
    model: type[KnotOptions | Rfc2136Options], option: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate({**SIGNED, **option})


def test_a_zone_to_check_may_lack_its_final_dot() -> None:
    assert Rfc2136Options.model_validate({**SIGNED, "check_zone": "Example.ORG"}).check_zone == "example.org."


@pytest.mark.parametrize(
    ("rcode", "takes_absence", "is_believed"),
    [
        (dns.rcode.NOTAUTH, True, True),
        (dns.rcode.NOTAUTH, False, False),
        (dns.rcode.NOERROR, True, False),
        (dns.rcode.NXRRSET, True, False),
        (dns.rcode.REFUSED, False, True),
    ],
)
def test_what_would_be_acted_upon_must_be_signed_save_an_absence_where_that_is_allowed(
    rcode: dns.rcode.Rcode, takes_absence: bool, is_believed: bool
) -> None:
    key = TsigKey("dnsworker", SIGNED["tsig_key_secret"], "hmac-sha256")
    verifier = Verifier(key, "ns1", b"mac", is_transfer=False, takes_unsigned_absence=takes_absence)
    answer = dns.message.make_response(dns.message.make_query("example.org.", "SOA"))
    answer.set_rcode(rcode)
    if is_believed:
        assert verifier.read(answer.to_wire()).rcode == rcode
        return
    with pytest.raises(AuthenticationFailed, match="unsigned answer"):
        verifier.read(answer.to_wire())
