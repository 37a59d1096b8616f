"""A proxy that ends TLS before NSD's control socket, and begins it anew behind: it can lose and cut answers.

`dnsworker.testing.Proxy` can't tell commands apart: to it they are ciphertext.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from dev.servers import Nsd

#: What becomes of the answer to a command: the octets that the client gets; None: none, and no orderly end.
Answer = Callable[[str, bytes], bytes | None]


class TlsProxy:
    """Passes each command on, and gives what `answer(command, answer)` makes of the answer.

    What is shorter than NSD's answer is cut: the connection is dropped without TLS' own goodbye.
    """

    def __init__(self, server: Nsd, answer: Answer) -> None:
        self._server, self._answer = server, answer
        #: What is answered to a command in NSD's place, which then hears nothing of it; None: it is asked.
        self.instead: Callable[[str], bytes | None] = lambda command: None
        self._server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client_side.check_hostname = False
        self._use_certificates(server.folder)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _use_certificates(self, folder: Path) -> None:
        self._server_side.load_cert_chain(folder / "nsd_server.pem", folder / "nsd_server.key")
        self._client_side.load_verify_locations(folder / "nsd_server.pem")
        self._client_side.load_cert_chain(folder / "nsd_control.pem", folder / "nsd_control.key")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                self._serve(client)

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(30)
        with self._server_side.wrap_socket(plain, server_side=True) as client:
            request = client.recv(65536)
            command = request.decode().removeprefix("NSDCT1 ").strip()
            answer = self.instead(command)
            if answer is None:
                answer = self._of_the_server(request)
            given = self._answer(command, answer)
            client.sendall(given or b"")
            if given == answer:
                client.unwrap()

    def _of_the_server(self, request: bytes) -> bytes:
        answer = bytearray()
        behind = socket.create_connection((self._server.address, self._server.control_port), 30)
        with self._client_side.wrap_socket(behind) as server:
            server.sendall(request)
            while part := server.recv(65536):
                answer += part
        return bytes(answer)
