"""The hosted zones of the Route 53 stand-in: what the service takes, refuses and keeps.

By its public documents; where they leave open how strict it is, this is the stricter. In SQLite, so that a
batch is one transaction and survives `kill -9`.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

import dns.exception
import dns.name
import dns.rdata

#: An XML element's content: text, or (tag, content) pairs.
Content = Any

MAX_RECORDS, MAX_CHARACTERS, MAX_VALUES, MAX_VALUE = 1000, 32_000, 400, 4000
TYPES = [
    "A",
    "AAAA",
    "CAA",
    "CNAME",
    "DS",
    "HTTPS",
    "MX",
    "NAPTR",
    "NS",
    "PTR",
    "SOA",
    "SPF",
    "SRV",
    "SSHFP",
    "SVCB",
    "TLSA",
    "TXT",
]
SOA = "ns-2048.awsdns-64.net. hostmaster.example.com. 1 7200 900 1209600 86400"
NAMESERVERS = tuple(
    f"ns-{2048 + n}.awsdns-{64 + n}.{tld}" for n, tld in enumerate(("com", "net", "org", "uk"))
)
TABLES = """
CREATE TABLE IF NOT EXISTS zone (id TEXT PRIMARY KEY, sort TEXT, name TEXT, reference TEXT, private INT,
    comment TEXT, vpcs TEXT);
CREATE TABLE IF NOT EXISTS reference (text TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS rrset (zone TEXT, sort TEXT, type TEXT, identifier TEXT, body TEXT,
    PRIMARY KEY (zone, sort, type, identifier));
CREATE TABLE IF NOT EXISTS change (id TEXT PRIMARY KEY, submitted REAL);
"""


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class HostedZones:
    """All zones of the account. Not for two threads at once. `pending_s`: until a change is INSYNC."""

    def __init__(self, path: Path) -> None:
        self._sql = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # Enough against kill -9; nothing here must outlive the machine.
        self._sql.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {TABLES}")
        self.page_size = 300
        self.pending_s = 0.0

    def create(self, name: str, reference: str, comment: str, vpc: Content) -> tuple[str, Content]:
        """The new zone's id and its description."""
        name = escaped(name)
        if self._sql.execute("SELECT 1 FROM reference WHERE text = ?", [reference]).fetchone():
            raise Refusal(409, "HostedZoneAlreadyExists", "A hosted zone has already been created with the specified caller reference.")  # fmt: skip  # noqa: E501
        for other, vpcs in self._sql.execute("SELECT name, vpcs FROM zone WHERE private").fetchall():
            if vpc and other == name and vpc in [each for _, each in json.loads(vpcs)]:
                raise Refusal(400, "ConflictingDomainExists", f"The VPC is associated with {name} already.")
        id = f"Z{secrets.token_hex(8).upper()}"
        vpcs = [["VPC", vpc]] if vpc else []
        with self._sql:
            self._sql.execute("BEGIN")
            self._sql.execute("INSERT INTO reference VALUES (?)", [reference])
            row = [id, sort_key(name), name, reference, bool(vpc), comment, json.dumps(vpcs)]
            self._sql.execute("INSERT INTO zone VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self._put(id, _plain(name, "NS", 172800, [f"{each}." for each in NAMESERVERS]))
            self._put(id, _plain(name, "SOA", 900, [SOA]))
        return id, [*self.get(id), ("ChangeInfo", self._new_change())]

    def get(self, id: str) -> list[tuple[str, Content]]:
        row = self._row(id)
        servers = [("NameServer", each) for each in NAMESERVERS]
        return [
            ("HostedZone", self._described(row)),
            *([] if row[4] else [("DelegationSet", [("NameServers", servers)])]),
            *([("VPCs", json.loads(row[6]))] if row[4] else []),
        ]

    def list_by_name(self, name: str, id: str, limit: int) -> Content:
        limit = min(limit, self.page_size)
        rows = self._sql.execute(
            "SELECT * FROM zone WHERE (sort, id) >= (?, ?) ORDER BY sort, id LIMIT ?",
            [sort_key(escaped(name)) if name else "", id, limit + 1],
        ).fetchall()
        shown = [("HostedZone", self._described(row)) for row in rows[:limit]]
        more = [("NextDNSName", rows[limit][2]), ("NextHostedZoneId", rows[limit][0])] if rows[limit:] else []
        truncated = ("IsTruncated", "true" if more else "false")
        return [("HostedZones", shown), *([("DNSName", name)] if name else []), truncated, *more, ("MaxItems", str(limit))]  # fmt: skip  # noqa: E501

    def delete(self, id: str) -> Content:
        apex = self._row(id)[2]
        others = "SELECT 1 FROM rrset WHERE zone = ? AND NOT (sort = ? AND type IN ('NS', 'SOA'))"
        if self._sql.execute(others, [id, sort_key(apex)]).fetchone():
            raise Refusal(400, "HostedZoneNotEmpty", "The specified hosted zone contains non-required resource record sets and so cannot be deleted.")  # fmt: skip  # noqa: E501
        with self._sql:
            self._sql.execute("BEGIN")
            self._sql.execute("DELETE FROM rrset WHERE zone = ?", [id])
            self._sql.execute("DELETE FROM zone WHERE id = ?", [id])
        return [("ChangeInfo", self._new_change())]

    def list_rrsets(self, id: str, name: str, type: str, identifier: str, limit: int) -> Content:
        self._row(id)
        limit = min(limit, self.page_size)
        if type and not name:
            raise Refusal(400, "InvalidInput", "The input is not valid: a type without a name.")
        start = [id, sort_key(escaped(name)) if name else "", type, identifier]
        rows = self._sql.execute(
            "SELECT sort, type, identifier, body FROM rrset WHERE zone = ? "
            "AND (sort, type, identifier) >= (?, ?, ?) ORDER BY sort, type, identifier LIMIT ?",
            [*start, limit + 1],
        ).fetchall()
        shown = [("ResourceRecordSet", json.loads(row[3])) for row in rows[:limit]]
        more = []
        if rows[limit:]:
            following = json.loads(rows[limit][3])
            more = [("NextRecordName", _child(following, "Name")), ("NextRecordType", rows[limit][1])]
            more += [("NextRecordIdentifier", rows[limit][2])] if rows[limit][2] else []
        truncated = ("IsTruncated", "true" if more else "false")
        return [("ResourceRecordSets", shown), truncated, *more, ("MaxItems", str(limit))]

    def change(self, id: str, changes: list[tuple[str, Content]]) -> Content:
        """All changes or none. `changes`: (action, ResourceRecordSet)."""
        apex = self._row(id)[2]
        _check_size(changes)
        refusals = []
        self._sql.execute("BEGIN")
        try:
            for action, body in changes:
                try:
                    self._change_one(id, apex, action, body)
                except ValueError as exc:
                    refusals.append(str(exc))
            if refusals:
                raise Refusal(400, "InvalidChangeBatch", f"[{', '.join(refusals)}]")
            self._sql.execute("COMMIT")
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        return [("ChangeInfo", self._new_change())]

    def change_info(self, id: str) -> Content:
        row = self._sql.execute("SELECT * FROM change WHERE id = ?", [id]).fetchone()
        if row is None:
            raise Refusal(404, "NoSuchChange", f"Could not find resource with ID: {id}")
        return [("ChangeInfo", self._shown_change(*row))]

    def _change_one(self, id: str, apex: str, action: str, body: list[tuple[str, Content]]) -> None:
        name, type = escaped(_child(body, "Name")), _child(body, "Type")
        identifier = _child(body, "SetIdentifier")
        body = [("Name", name) if tag == "Name" else (tag, content) for tag, content in body]
        if not f".{name}".endswith(f".{apex}"):
            raise ValueError(f"RRSet with DNS name {name} is not permitted in zone {apex}")
        if type not in TYPES:
            raise Refusal(400, "InvalidInput", f"Invalid XML ; Value '{type}' is not facet-valid")
        called = f"[name='{name}', type='{type}'" + (
            f", set-identifier='{identifier}']" if identifier else "]"
        )
        key = [id, sort_key(name), type, identifier]
        found = self._sql.execute(
            "SELECT body FROM rrset WHERE zone = ? AND sort = ? AND type = ? AND identifier = ?", key
        ).fetchone()
        if action == "DELETE":
            if found is None:
                raise ValueError(f"Tried to delete resource record set {called} but it was not found")
            if _comparable(json.loads(found[0])) != _comparable(body):
                raise ValueError(
                    f"Tried to delete resource record set {called} but the values provided do not match "
                    "the current values"
                )
            if name == apex and type in ("NS", "SOA"):
                raise ValueError(f"A HostedZone must contain at least one {type} record for the zone itself.")
            self._sql.execute(
                "DELETE FROM rrset WHERE zone = ? AND sort = ? AND type = ? AND identifier = ?", key
            )
            return
        if action == "CREATE" and found:
            raise ValueError(f"Tried to create resource record set {called} but it already exists")
        _check(name, type, body)
        for other, other_identifier in self._sql.execute(
            "SELECT type, identifier FROM rrset WHERE zone = ? AND sort = ?", key[:2]
        ).fetchall():
            if other == type and bool(other_identifier) != bool(identifier):
                raise ValueError(
                    f"RRSet with DNS name {name}, type {type}, SetIdentifier {identifier or 'null'} "
                    "cannot be created as other RRSets exist with the same name and type."
                )
            if other != type and "CNAME" in (type, other):
                raise ValueError(
                    f"RRSet of type {type} with DNS name {name} is not permitted as it conflicts with other "
                    f"records with the same DNS name in zone {apex}"
                )
        self._put(id, body)

    def _put(self, zone: str, body: list[tuple[str, Content]]) -> None:
        key = [zone, sort_key(_child(body, "Name")), _child(body, "Type"), _child(body, "SetIdentifier")]
        self._sql.execute("INSERT OR REPLACE INTO rrset VALUES (?, ?, ?, ?, ?)", [*key, json.dumps(body)])

    def _row(self, id: str) -> Any:
        row = self._sql.execute("SELECT * FROM zone WHERE id = ?", [id]).fetchone()
        if row is None:
            raise Refusal(404, "NoSuchHostedZone", f"No hosted zone found with ID: {id}")
        return row

    def _described(self, row: Any) -> Content:
        id, _, name, reference, private, comment, _ = row
        count = self._sql.execute("SELECT count(*) FROM rrset WHERE zone = ?", [id]).fetchone()[0]
        config = [
            *([("Comment", comment)] if comment else []),
            ("PrivateZone", "true" if private else "false"),
        ]
        return [
            ("Id", f"/hostedzone/{id}"), ("Name", name), ("CallerReference", reference), ("Config", config),
            ("ResourceRecordSetCount", str(count)),
        ]  # fmt: skip

    def _new_change(self) -> Content:
        row = (f"C{secrets.token_hex(8).upper()}", time.time())
        self._sql.execute("INSERT INTO change VALUES (?, ?)", row)
        return self._shown_change(*row)

    def _shown_change(self, id: str, submitted: float) -> Content:
        status = "INSYNC" if time.time() - submitted >= self.pending_s else "PENDING"
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(submitted))
        return [("Id", f"/change/{id}"), ("Status", status), ("SubmittedAt", at)]


def escaped(name: str) -> str:
    """A name as the service shows it: lower case, all but letters, digits, - and _ in octal."""
    if re.fullmatch(r"[a-z0-9_.-]+\.", name):
        return name
    labels = dns.name.from_text(_decimal(name)).canonicalize().labels[:-1]
    plain = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
    return "".join(
        "".join(chr(octet) if octet in plain else f"\\{octet:03o}" for octet in label) + "."
        for label in labels
    )


def sort_key(name: str) -> str:
    return ".".join(reversed(name.rstrip(".").split("."))) + "."


def _decimal(text: str) -> str:
    """Octal escapes as the decimal ones of master files."""
    if re.search(r"\\(?![0-3][0-7]{2}|[\"\\])", text):
        raise ValueError(f"FATAL problem: UnsupportedCharacter (Value contains an invalid escape) encountered with '{text}'")  # fmt: skip  # noqa: E501
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: f"\\{int(match[1], 8):03d}", text)


def _check(name: str, type: str, body: list[tuple[str, Content]]) -> None:
    values = _values(body)
    if _child(body, "AliasTarget"):
        return
    if not values or not _child(body, "TTL"):
        raise Refusal(400, "InvalidInput", f"Invalid request: expected TTL and values for [{name}, {type}]")
    if len(values) > (1 if type in ("CNAME", "SOA") else MAX_VALUES):
        raise ValueError(
            f"Cannot have more than {MAX_VALUES} records in a RRSet: [name='{name}', type='{type}']"
        )
    for value in values:
        said = f"encountered with '{value}'"
        if len(value) > MAX_VALUE:
            raise ValueError(
                f"Invalid Resource Record: 'FATAL problem: RDATATooLong (Value is too long) {said}'"
            )
        if type in ("TXT", "SPF") and not value.startswith('"'):
            raise ValueError(f"Invalid Resource Record: 'FATAL problem: InvalidCharacterString (Value should be enclosed in quotation marks) {said}'")  # fmt: skip  # noqa: E501
        try:
            dns.rdata.from_text("IN", type, _decimal(value), origin=dns.name.root, relativize=False)
        except (dns.exception.DNSException, ValueError) as exc:
            raise ValueError(
                f"Invalid Resource Record: 'FATAL problem: {type}RRDATAIllegal ({exc}) {said}'"
            ) from exc


def _check_size(changes: list[tuple[str, Content]]) -> None:
    records = characters = 0
    for action, body in changes:
        times = 2 if action == "UPSERT" else 1
        records += times * len(_values(body))
        characters += times * sum(map(len, _values(body)))
    if records > MAX_RECORDS:
        raise Refusal(400, "InvalidChangeBatch", f"[Number of records limit of {MAX_RECORDS} exceeded.]")
    if characters > MAX_CHARACTERS:
        raise Refusal(
            400, "InvalidChangeBatch", f"[Number of characters limit of {MAX_CHARACTERS} exceeded.]"
        )


def _comparable(body: list[Any]) -> Any:
    """The order of elements and values doesn't count."""
    others = [
        (tag, content if isinstance(content, str) else json.dumps(sorted(content)))
        for tag, content in body
        if tag != "ResourceRecords"
    ]
    return sorted(others), sorted(_values(body))


def _plain(name: str, type: str, ttl: int, values: list[str]) -> list[tuple[str, Content]]:
    records = [("ResourceRecord", [("Value", value)]) for value in values]
    return [("Name", name), ("Type", type), ("TTL", str(ttl)), ("ResourceRecords", records)]


def _child(body: list[Any], tag: str) -> Any:
    return next((content for each, content in body if each == tag), "")


def _values(body: list[Any]) -> list[str]:
    return [_child(record, "Value") for _, record in _child(body, "ResourceRecords") or []]
