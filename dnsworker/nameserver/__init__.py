"""The built-in authoritative nameserver: it answers from whatever zones a `ZoneSource` holds.

Separate from the database, of which it knows nothing, and from `dnsworker.answers`, which decides what is
answered; here is how questions arrive and answers leave.
"""

from dnsworker.nameserver.questions import ZoneSource
from dnsworker.nameserver.server import NameServer

__all__ = ["NameServer", "ZoneSource"]
