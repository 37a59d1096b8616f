"""What stands before every page: the login, and the headers that tell a browser what it must not do.

Separate from the pages so that none can be added without it. Plain ASGI: it also covers what Starlette
answers by itself.
"""

from __future__ import annotations

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dnsworker.dashboard.login import CHALLENGE, Login, is_loopback

log = logging.getLogger(__name__)

#: Asked by machines, which have no login. They say nothing but well or not.
OPEN = ("/health/live", "/health/ready")

HEADERS = {
    # Everything comes from here, in files: no script, style or frame that anybody slips in is run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guard:
    def __init__(self, app: ASGIApp, login: Login | None) -> None:
        self._app, self._login = app, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if scope["path"] in OPEN:
            return None
        headers = Headers(scope=scope)
        if self._login is None:
            # A page elsewhere could have its own name lead to this machine, and read with its own script.
            host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
            if not is_loopback(host):
                return PlainTextResponse("Without a login this answers to localhost alone.\n", 421)
            return None
        authorization = headers.get("authorization")
        if self._login.fits(authorization):
            return None
        if authorization is not None:
            client = scope.get("client")
            log.warning("refused a login from %s", client[0] if client else "somewhere")
        return PlainTextResponse("Log in to see this page.\n", 401, {"WWW-Authenticate": CHALLENGE})
