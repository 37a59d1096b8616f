"""The form of record data as text: mistakes that dnspython would read as something else."""

from __future__ import annotations

import re

import dns.exception
import dns.name

from dnsworker.errors import InvalidRecord
from dnsworker.names import shown
from dnsworker.rdata_rules import EXAMPLES, TEXT_TYPES

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = r"\\(?:[01][0-9]{2}|2[0-4][0-9]|25[0-5]|[^0-9])"
#: Text with no comment, no parentheses, sound escapes and quotes that end.
_SOUND = re.compile(rf'(?:[^\\"();]|{_ESCAPE}|"(?:[^\\"]|{_ESCAPE})*+")*+')
_BAD_ESCAPE = re.compile(rf"(?:[^\\]|{_ESCAPE})*+\\")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|((?:[^ "\\]|\\.)+)')
_OCTET = re.compile(r"\\[0-9]{3}|\\?(.)", re.DOTALL)


def check_form(where: str, type_: str, value: str) -> None:
    """What holds for every type before it is parsed: mistakes that dnspython would read as something else."""
    if not isinstance(value, str):
        raise InvalidRecord(f"{where}: a record's data is text, not {type(value).__name__}")
    if _SURROGATE.search(value):
        raise InvalidRecord(f"{where}: {shown(value)} is not valid Unicode")
    if not value.strip(" "):
        raise InvalidRecord(f"{where}: a record's data is empty")
    if control := _CONTROL.search(value):
        if control[0] in "\r\n":
            raise InvalidRecord(
                f"{where}: a newline in {shown(value)}; a text's own newline is written \\010"
            )
        raise InvalidRecord(
            f"{where}: a control character in {shown(value)}: write it as \\{ord(control[0]):03d}"
        )
    if not _SOUND.fullmatch(value):
        raise InvalidRecord(f"{where}: {_unsound(value)}")
    if type_ in TEXT_TYPES and not value.startswith("\\#"):
        _check_strings(where, value)


def _unsound(value: str) -> str:
    if bad := _BAD_ESCAPE.match(value):
        if bad.end() == len(value):
            return f"{shown(value)} ends in a backslash: write \\\\ for a backslash"
        return (
            f"{shown(value)}: a backslash is followed by three digits from 000 to 255, "
            "or by a character that is no digit"
        )
    outside = re.sub(rf'"(?:[^\\"]|{_ESCAPE})*+"|{_ESCAPE}', "", value)
    if '"' in outside:
        return f"{shown(value)} has a quote that doesn't end: write \\\" for a quote within text"
    character = next(char for char in outside if char in "();")
    return f"{shown(value)}: a {character} outside quotes; put the text in quotes"


def _check_strings(where: str, value: str) -> None:
    strings = list(_STRING.finditer(value))
    if len(strings) > 1 and any(string[2] is not None for string in strings):
        whole = value.replace('"', '\\"')
        raise InvalidRecord(
            f'{where}: text with blanks must be in quotes: write "{shown(whole)}" '
            'for one string, or "…" "…" for several'
        )
    for string in strings:
        octets = sum(
            len(char[1].encode()) if char[1] else 1 for char in _OCTET.finditer(string[1] or string[2] or "")
        )
        if octets > 255:
            raise InvalidRecord(
                f'{where}: a string has {octets} octets, and 255 is the limit; split it: "…" "…" '
                "(readers join them without a blank)"
            )


def reason(exc: dns.exception.DNSException, type_: str) -> str:
    said = str(exc).strip().rstrip(".")
    reason = "" if said in ("", "Text input is malformed") else f" ({said})"
    return reason + (f"; write it like {EXAMPLES[type_]}" if type_ in EXAMPLES else "")


def not_absolute(where: str, name: dns.name.Name) -> InvalidRecord:
    text = str(name)
    if text == "@":
        return InvalidRecord(
            f"{where}: @ has no meaning within data; write the whole name, with its final dot"
        )
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", text):
        return InvalidRecord(f"{where}: {text} is an address, and a name is needed")
    full = f"{text}." if "." in text else f"{text}.example.org."
    return InvalidRecord(
        f"{where}: the name {shown(text)} must be whole and end in a dot, like {shown(full)}"
    )
