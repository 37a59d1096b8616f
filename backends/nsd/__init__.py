"""The `nsd` backend: NSD as a secondary, its zones added and removed over its control socket."""

from backends.nsd.backend import NsdBackend

BACKEND = NsdBackend
