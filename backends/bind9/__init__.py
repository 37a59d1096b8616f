"""The `bind9` backend: BIND 9.16 and later, driven over `rndc`, dynamic updates and zone transfers."""

from backends.bind9.backend import Bind9Backend

BACKEND = Bind9Backend
