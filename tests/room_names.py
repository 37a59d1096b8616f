"""The resolver of the rooms (`tests/rooms.py`): `room_names.py ADDRESS JSON` answers for the names in it.

As an engine's own does for the containers of a network. It knows nothing else and asks nobody.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL_S = 1


def answer(query: dns.message.Message, names: Mapping[str, Sequence[str]]) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    (question,) = query.question
    addresses = names.get(question.name.to_text(omit_final_dot=True).lower())
    if addresses is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        response.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", "A", *addresses))
    return response


def main() -> None:
    names = json.loads(sys.argv[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((sys.argv[1], 53))
        while True:
            wire, peer = sock.recvfrom(4096)
            sock.sendto(answer(dns.message.from_wire(wire), names).to_wire(), peer)


if __name__ == "__main__":
    main()
