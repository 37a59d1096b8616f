"""The `knot` backend: Knot DNS 3.2 and later, driven over its control socket, updates and zone transfers."""

from backends.knot.backend import KnotBackend

BACKEND = KnotBackend
