"""The requests about zones that a delivery is made of: read, create, patch, set, delete.

Between `api`, which knows statuses, and the backend, which knows plans. Here a 404 becomes "absent" only
after the server has shown that it is the right one, and a refusal gets the name of our RRset.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from backends.powerdns import convert, settings
from backends.powerdns.api import Answer, Api, Refused
from backends.powerdns.options import PowerDNSOptions
from backends.powerdns.settings import SECONDARY_KINDS, Json
from dnsworker import names
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, RecordRejected, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key

#: A zone as the API describes it.
Settings = Json

#: For so long a server that was known to be the right one is believed to be.
KNOWN_S = 0.5

#: Types that PowerDNS stores and doesn't serve, unless it is told to: it makes them from its own keys.
_FROM_ITS_KEYS = ("CDNSKEY", "CDS", "DNSKEY")


class Zones:
    """The zones behind one API endpoint. `between` is called before each request after `begin`'s first."""

    def __init__(self, api: Api, options: PowerDNSOptions, between: Callable[[], None]) -> None:
        self._api = api
        self._options = options
        self._between = between
        self._has_sent = False
        #: When the server last said that it is one.
        self._known_at = float("-inf")
        #: Types that this server said it doesn't know by name.
        self._unknown_types: set[str] = set()
        #: Whether PowerDNS signs the zone that was last looked at.
        self._signed: tuple[Name, bool] | None = None

    def begin(self) -> None:
        self._has_sent = False

    def server(self) -> Json:
        """The server itself. Raises when this isn't it: wrong address, wrong server_id, or a proxy's 404."""
        answer = self._call("GET", accept=(200, 404))
        said = answer.json() if answer.status == 200 else {}
        if not isinstance(said, dict) or said.get("type") != "Server":
            raise ServerFailure(
                f"no PowerDNS server {self._options.server_id!r} at {self._options.api_url}: "
                "check api_url and server_id"
            )
        return said

    def transfers(self) -> bool:
        """Whether PowerDNS is set up to transfer zones from primaries at all."""
        config = self._config()
        return config is None or "yes" in (config.get("secondary"), config.get("slave"))

    def get(self, zone: Name, params: Mapping[str, str]) -> Json | None:
        """Settings and RRsets of a zone, those that `params` select; None when it is absent."""
        answer = self._call("GET", _path(zone), params=params, accept=(200, 404), is_bulk=not params)
        if not self._is_present(answer):
            return None
        item = self._as_zone(answer)
        self._signed = (zone, bool(item.get("dnssec")))
        return item

    def contents(self, zone: Name) -> ZoneContents | None:
        """The whole zone; None also for one without a live SOA, which PowerDNS refuses to serve."""
        item = self.get(zone, {})
        if item is None:
            return None
        soa, rrsets = convert.contents_from_api(zone, item["rrsets"])
        return ZoneContents(soa=soa, rrsets=rrsets, name=zone) if soa else None

    def settings(self, zone: Name) -> Settings:
        item = self.get(zone, {"rrsets": "false"})
        if item is None:
            raise missing(zone)
        return item

    def settings_and_soa(self, zone: Name) -> tuple[Settings, SOA] | None:
        """In one request; None as in `contents`."""
        item = self.get(zone, {"rrset_name": convert.name_to_api(zone), "rrset_type": "SOA"})
        if item is None:
            return None
        soa, _ = convert.contents_from_api(zone, item["rrsets"])
        return (item, soa) if soa else None

    def post(self, zone: Name, soa: SOA) -> Settings | None:
        """Creates the zone with its SOA disabled, and gives its settings; None when there is one already.

        PowerDNS refuses queries for it until the SOA is live: nobody sees it half-filled or caches an
        NXDOMAIN from it.
        """
        hidden = [convert.soa_replacement(zone, soa, is_disabled=True)]
        return self._post(zone, settings.of_a_new_primary(self._options) | {"rrsets": hidden})

    def post_secondary(self, zone: Name) -> Settings | None:
        """Creates the zone, empty, with its primaries; None when there is one already."""
        return self._post(zone, settings.of_a_new_secondary(self._options))

    def _post(self, zone: Name, more: Json) -> Settings | None:
        body = {"name": convert.name_to_api(zone)} | more

        def send() -> Answer:
            params = {"rrsets": "false"}
            accept = (201, 404, 409)
            return self._call("POST", "/zones", body=body, params=params, accept=accept, is_refusable=True)

        answer = self._refusable(send, zone, ())
        if not self._is_present(answer):
            raise ServerFailure("PowerDNS answered 404 to the creation of a zone")
        if answer.status != 201:
            return None
        item = self._as_zone(answer)
        self._signed = (zone, bool(item.get("dnssec")))
        return item

    def patch(self, zone: Name, changes: Collection[RRsetChange], soa: SOA | None) -> None:
        """One transaction: the changes in their order, then the SOA."""
        self._refuse_unserved(zone, changes)

        def send() -> Answer:
            body = self._patch_body(zone, changes, soa)
            accept = (200, 204, 404)
            return self._call("PATCH", _path(zone), body=body, accept=accept, is_refusable=True)

        if not self._is_present(self._refusable(send, zone, changes)):
            raise missing(zone)

    def put(self, zone: Name, wanted: Json) -> None:
        """Changes settings; no request where there is nothing to change."""
        rest = {name: value for name, value in wanted.items() if name != "dnssec"}
        # Keys first, and alone: a zone without a live SOA can't be rectified, which the rest may ask for.
        keys = {"dnssec": wanted["dnssec"]} if "dnssec" in wanted else {}
        for body in filter(None, (keys, rest)):
            answer = self._call("PUT", _path(zone), body=body, accept=(200, 204, 404))
            if not self._is_present(answer):
                raise missing(zone)
        if keys:
            self._signed = (zone, bool(wanted["dnssec"]))
        if "soa_edit" in rest:
            # Else PowerDNS goes on for a minute with the setting that it has in its cache, serves serials
            # that are higher than ours, and then lower ones.
            body = {"kind": "SOA-EDIT", "metadata": [rest["soa_edit"]]}
            self._call("PUT", f"{_path(zone)}/metadata/SOA-EDIT", body=body, accept=(200, 404, 422))

    def retrieve(self, zone: Name) -> None:
        """Has PowerDNS transfer the zone from its primaries; it says so before it does."""
        if not self._is_present(self._call("PUT", f"{_path(zone)}/axfr-retrieve", accept=(200, 404))):
            raise missing(zone)

    def ds_records(self, zone: Name) -> list[str]:
        """The DS records of the zone's active keys, SHA-1 left out (RFC 8624, section 3.3)."""
        if self._signed is None or self._signed[0] != zone:
            self.settings(zone)
        if self._signed == (zone, False):
            return []
        answer = self._call("GET", f"{_path(zone)}/cryptokeys", accept=(200, 404))
        if not self._is_present(answer):
            raise missing(zone)
        keys = [key for key in answer.json() if key.get("active") and key.get("published", True)]
        found = [str(text) for key in keys for text in key.get("ds", ())]
        return sorted(text for text in found if text.split()[2] != "1")

    def delete(self, zone: Name) -> None:
        self._is_present(self._call("DELETE", _path(zone), accept=(200, 204, 404)))

    def notify(self, zone: Name) -> None:
        """Have PowerDNS notify whoever the zone has for secondaries."""
        if not self._is_present(self._call("PUT", f"{_path(zone)}/notify", accept=(200, 404))):
            raise missing(zone)

    def notify_secondaries(self, zone: Name) -> None:
        """Only a courtesy, so failing is no error: PowerDNS finds the new serial itself within a minute."""
        try:
            self._call("PUT", f"{_path(zone)}/notify")
        except BackendError:
            return

    def ensure_settings(self, zone: Name, found: Settings, changes: Iterable[RRsetChange]) -> None:
        """Puts right what keeps our serials from being served as written, or the changes from resolving."""
        if found["kind"] in SECONDARY_KINDS:
            raise ServerFailure(
                f"{zone} is of kind {found['kind']} in PowerDNS: its primary would overwrite it"
            )
        must_rectify = self._must_rectify(zone, found, changes)
        self.put(zone, settings.missing_in_primary(self._options, found, must_rectify=must_rectify))

    def _refuse_unserved(self, zone: Name, changes: Iterable[RRsetChange]) -> None:
        """PowerDNS would take these types without a word, and answer as if they weren't there."""
        keys = [change.key for change in changes if change.after and change.key[1] in _FROM_ITS_KEYS]
        if keys and not self._serves_dnskeys():
            raise RecordRejected(
                f"PowerDNS serves {keys[0][1]} records only with direct-dnskey=yes in its pdns.conf",
                rrset=keys[0],
                zone=zone,
            )

    def _serves_dnskeys(self) -> bool:
        config = self._config()
        return config is None or config.get("direct-dnskey", "yes") == "yes"

    def _config(self) -> dict[str, str] | None:
        """What pdns.conf says; None where a proxy doesn't pass this on: verification will find out."""
        answer = self._call("GET", "/config", accept=(200, 404))
        found = answer.json() if answer.status == 200 else None
        if not isinstance(found, list):
            return None
        return {str(item.get("name")): str(item.get("value")) for item in found if isinstance(item, dict)}

    def _must_rectify(self, zone: Name, found: Settings, changes: Iterable[RRsetChange]) -> bool:
        """Whether the next PATCH must rectify, in its own transaction (0.3 s for 100,000 names).

        Unrectified, a zone has no empty non-terminals: asked for `b` above `a.b`, PowerDNS answers NXDOMAIN
        or from a wildcard. Only a name two labels or more below the apex can have one above it.
        """
        if self._options.rectify != "auto":
            return self._options.rectify == "always"
        apex = len(names.split_labels(zone))
        is_signed = found.get("dnssec") if self._options.dnssec is None else self._options.dnssec
        return bool(is_signed) or any(len(names.split_labels(change.key[0])) > apex + 1 for change in changes)

    def _patch_body(self, zone: Name, changes: Iterable[RRsetChange], soa: SOA | None) -> Json:
        rrsets = [convert.change_to_api(change, self._unknown_types) for change in changes]
        if soa is not None:
            rrsets.append(convert.soa_replacement(zone, soa))
        return {"rrsets": rrsets}

    def _refusable(self, send: Callable[[], Answer], zone: Name, changes: Iterable[RRsetChange]) -> Answer:
        """Sends; a refusal becomes a `RecordRejected` that names our RRset.

        A refused request has changed nothing. So when the reason is a type that this version doesn't know by
        name, it is sent again with that type in RFC 3597's form.
        """
        while True:
            try:
                return send()
            except Refused as exc:
                key = _find_key(exc, zone, changes)
                if key and "unknown type" in exc.message and key[1] not in self._unknown_types:
                    self._unknown_types.add(key[1])
                    continue
                if key is None and exc.named and exc.named.name == convert.name_to_api(zone):
                    raise Unsupported(exc.message, zone=zone) from exc  # the zone's own name
                raise RecordRejected(exc.message, rrset=key, zone=zone) from exc

    def _as_zone(self, answer: Answer) -> Json:
        item = answer.json()
        if not isinstance(item, dict) or "kind" not in item or "serial" not in item:
            raise ServerFailure("the answer is not a zone of a PowerDNS API")
        return item

    def _is_present(self, answer: Answer) -> bool:
        """False for a 404, if it is the right server's: it says the same 404 to a wrong server_id.

        That it is the right one is asked again when the last answer to that is older than a moment.
        """
        if answer.status != 404:
            return True
        moment = time.monotonic()
        if moment - self._known_at > KNOWN_S:
            self.server()
            self._known_at = moment
        return False

    def _call(self, method: str, path: str = "", **more: Any) -> Answer:
        if self._has_sent:
            self._between()
        self._has_sent = True
        return self._api.call(method, path, **more)


def missing(zone: Name) -> ZoneMissing:
    return ZoneMissing(f"PowerDNS has no zone {zone}", zone=zone)


def _path(zone: Name) -> str:
    return f"/zones/{convert.zone_id(zone)}"


def _find_key(refused: Refused, zone: Name, changes: Iterable[RRsetChange]) -> Key | None:
    """Which of our RRsets a refusal names."""
    named = refused.named
    if named is None:
        return None
    for change in changes:
        name, type = change.key
        types = (type, convert.generic_type(type), None)
        if named.type in types and convert.name_to_api(name) == named.name:
            return change.key
    if named.type == "SOA" and named.name == convert.name_to_api(zone):
        return (zone, "SOA")
    return None
