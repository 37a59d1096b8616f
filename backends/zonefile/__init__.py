"""The `zonefile` backend: zone files in a folder, for whatever nameserver reads them there."""

from backends.zonefile.backend import ZonefileBackend

BACKEND = ZonefileBackend
