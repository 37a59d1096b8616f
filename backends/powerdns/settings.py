"""A zone's settings in PowerDNS: what they have to be for what pools.yaml says. Pure.

Separate from the requests, so that all that is ever changed in a zone besides its records is in one place.
"""

from __future__ import annotations

from typing import Any

from backends.powerdns.options import PowerDNSOptions

Json = dict[str, Any]

#: Kinds that take their contents from elsewhere, under their names in all versions.
SECONDARY_KINDS = ("Slave", "Secondary", "Consumer")


def of_a_new_primary(options: PowerDNSOptions) -> Json:
    return {
        "kind": options.kind,
        "nameservers": [],
        "api_rectify": False,  # it fails in a zone without SOA; `ensure_settings` turns it on
        # "" and not left out: PowerDNS would set serials of its own. NONE: nor may a default-soa-edit in
        # pdns.conf change what is served.
        "soa_edit_api": "",
        "soa_edit": "NONE",
    }


def of_a_new_secondary(options: PowerDNSOptions) -> Json:
    # `Slave` is understood by all versions; `Secondary` by the later ones.
    return {"kind": "Slave", "nameservers": [], "soa_edit_api": "", "soa_edit": "NONE"} | _sources(options)


def missing_in_primary(options: PowerDNSOptions, settings: Json, *, must_rectify: bool) -> Json:
    """What to set, so that serials are served as written and changes resolve; empty where all is well."""
    wanted: Json = {}
    if settings.get("soa_edit_api", "") != options.soa_edit_api:
        wanted["soa_edit_api"] = options.soa_edit_api
    if settings.get("api_rectify", False) != must_rectify:
        wanted["api_rectify"] = must_rectify
    return wanted | _unedited_serial(settings) | _signing(options, settings)


def missing_in_secondary(options: PowerDNSOptions, settings: Json) -> Json:
    """What to set, so that the zone is transferred from where it should be; empty where all is well."""
    wanted: Json = {}
    if settings["kind"] not in SECONDARY_KINDS:
        wanted["kind"] = "Slave"
    wanted |= {name: value for name, value in _sources(options).items() if settings.get(name, []) != value}
    return wanted | _unedited_serial(settings) | _signing(options, settings)


def _sources(options: PowerDNSOptions) -> Json:
    return {
        "masters": [master.address for master in options.masters],
        "slave_tsig_key_ids": list(options.masters_tsig_key_ids),
    }


def _unedited_serial(settings: Json) -> Json:
    is_edited = settings.get("edited_serial", settings["serial"]) != settings["serial"]
    return {"soa_edit": "NONE"} if settings.get("soa_edit") not in ("", "NONE") or is_edited else {}


def _signing(options: PowerDNSOptions, settings: Json) -> Json:
    if options.dnssec is None or bool(settings.get("dnssec")) == options.dnssec:
        return {}
    return {"dnssec": options.dnssec}
