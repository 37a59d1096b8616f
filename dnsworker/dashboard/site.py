"""The site: which address shows what, who may see it, and what every answer says about itself.

Separate from the readings, which know nothing of HTTP, and from `serving`, which runs it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dnsworker.dashboard import overview, plots, words, zones
from dnsworker.dashboard.guard import Guard
from dnsworker.dashboard.hour import LastHour
from dnsworker.dashboard.login import Login
from dnsworker.dashboard.reading import Reader
from dnsworker.dashboard.shared import REST, Reading, Shared
from dnsworker.errors import InvalidName, OperationNotFound, ZoneNotFound
from dnsworker.operations import ZoneStatus
from dnsworker.settings import Settings
from dnsworker.store import timeline

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
#: How old a page may be, and how often a browser asks for a newer one.
INTERVAL_S = 2.0
#: Longer than any name, escaped, or id.
LONGEST_SEARCH = 1100


class Site:
    """The pages. One object per process."""

    def __init__(
        self, settings: Settings, login: Login | None, *, interval_s: float = INTERVAL_S, rest: float = REST
    ) -> None:
        """`login`: None shows everything to everybody who reaches it under a name of this machine.

        `interval_s`, `rest`: as `Shared` has them.
        """
        self._reader, self._login, self._flower = Reader(settings), login, settings.flower_url
        self._shared, self._last_hour = Shared(interval_s, rest=rest), LastHour()
        self._templates = _templates()
        self._interval_s = interval_s

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._overview),
                Route("/zones", self._zones),
                Route("/zones/{name:path}", self._zone),
                Route("/operations", self._operations),
                Route("/operations/{id:path}", self._operation),
                Route("/search", self._search),
                Route("/health/live", self._live),
                Route("/health/ready", self._ready),
                Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
            ],
            middleware=[Middleware(Guard, login=self._login), Middleware(GZipMiddleware)],
            exception_handlers={HTTPException: self._refused, Exception: self._failed},
            lifespan=self._life,
        )

    @asynccontextmanager
    async def _life(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        self._reader.close()

    # --- pages -------------------------------------------------------------------------------------------

    async def _overview(self, request: Request) -> Response:
        def query(connection: Any) -> overview.Overview:
            return overview.read(connection, self._last_hour)

        reading = await self._read(request, "overview", query)
        return self._page(request, "overview.html", reading, lambda found: {"system": found})

    async def _zones(self, request: Request) -> Response:
        given = request.query_params
        status = given.get("status") or None
        if status is not None and status not in ZoneStatus.__members__:
            raise HTTPException(404, f"no status {status!r}; there are {', '.join(ZoneStatus)}")
        after = _cursor(given.get("after"), lambda name, key: (name, int(key)))
        query = partial(zones.page_of_zones, status=status, since=_sort_from(given.get("from")), after=after)
        key = ("zones", status, given.get("from"), after)
        reading = await self._read(request, key, query)
        return self._page(
            request, "zones.html", reading,
            lambda found: {
                "list": found, "status": status, "since": given.get("from", ""), "statuses": ZoneStatus,
            },
        )  # fmt: skip

    async def _zone(self, request: Request) -> Response:
        name, pool = request.path_params["name"], request.query_params.get("pool") or None
        before = _cursor(request.query_params.get("before"), _moment_and_id)
        query = partial(zones.page_of_zone, text=name, pool=pool, before=before)
        try:
            reading = await self._read(request, ("zone", name, pool, before), query)
        except (ZoneNotFound, InvalidName) as exc:
            raise HTTPException(404, exc.message) from exc
        return self._page(
            request, "zone.html", reading, lambda found: {"page": found, "zone": found.zone, "before": before}
        )

    async def _operations(self, request: Request) -> Response:
        try:
            view = zones.View(request.query_params.get("view", zones.View.WAITING))
        except ValueError as exc:
            raise HTTPException(404, f"view must be one of {', '.join(zones.View)}") from exc
        before = _cursor(request.query_params.get("before"), _moment_and_id)
        query = partial(zones.page_of_operations, view=view, before=before)
        reading = await self._read(request, ("operations", view, before), query)
        return self._page(request, "operations.html", reading, lambda found: {"list": found, "view": view})

    async def _operation(self, request: Request) -> Response:
        operation_id = request.path_params["id"]
        query = partial(zones.page_of_operation, operation_id=operation_id)
        try:
            reading = await self._read(request, ("operation", operation_id), query)
        except OperationNotFound as exc:
            raise HTTPException(404, exc.message) from exc
        return self._page(
            request, "operation.html", reading, lambda found: {"page": found, "one": found.outcome}
        )

    async def _search(self, request: Request) -> Response:
        """To the operation of that id, the zone that holds that name, or the zones from there on."""
        text = request.query_params.get("q", "").strip()
        if not text:
            return RedirectResponse("/zones", 303)
        if len(text) > LONGEST_SEARCH:
            raise HTTPException(404, f"nothing here has a name or an id of {len(text)} characters")

        def query(connection: Any) -> str:
            if timeline.has_operation(connection, text):
                return f"/operations/{quote(text, safe='')}"
            zone = zones.zone_of(connection, text)
            return f"/zones/{quote(zone, safe='')}" if zone else f"/zones?{urlencode({'from': text})}"

        reading = await self._read(request, ("search", text), query)
        if reading.error is not None:
            return self._page(request, "away.html", reading, dict)
        return RedirectResponse(reading.value, 303)

    async def _read(self, request: Request, key: Hashable, query: Callable[[Any], Any]) -> Reading:
        given = (*request.path_params.values(), *request.query_params.values())
        if any("\0" in one for one in given):  # PostgreSQL has no such text
            raise HTTPException(404, "nothing here has a NUL in its name")
        return await self._shared.get(key, partial(self._reader.read, query))

    # --- health ------------------------------------------------------------------------------------------

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def _ready(self, _request: Request) -> Response:
        # Whoever asks hasn't logged in: it is said that something is wrong, and not where or with whom.
        reading = await self._shared.get("ready", self._reader.check)
        if reading.error is not None:
            return JSONResponse({"status": "not ready", "reason": "the database is away"}, 503)
        return JSONResponse({"status": "ready"})

    # --- answers -----------------------------------------------------------------------------------------

    def _page(
        self, request: Request, template: str, reading: Reading, context: Callable[[Any], Mapping[str, Any]]
    ) -> Response:
        is_known = reading.read_at is not None
        values = dict(context(reading.value)) if is_known else {}
        return self._html(
            request, template if is_known else "away.html", 200 if is_known else 503,
            values | {"error": reading.error, "read_at": reading.read_at},
        )  # fmt: skip

    def _html(self, request: Request, template: str, status: int, values: Mapping[str, Any]) -> Response:
        body = self._templates.get_template(template).render(
            {"error": None, "read_at": None} | dict(values),
            request=request, flower=self._flower, interval_ms=round(self._interval_s * 1000),
        ).encode()  # fmt: skip
        # What a browser has already isn't sent again: nothing in the page depends on the time of day.
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        read_at = values.get("read_at") or datetime.now(UTC)
        headers = {"ETag": tag, "X-Read-At": read_at.isoformat(timespec="seconds")}
        if status == 200 and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(body, status, headers)

    async def _refused(self, request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        return self._html(
            request, "message.html", exc.status_code, {"title": _title(exc), "text": exc.detail}
        )

    async def _failed(self, request: Request, exc: Exception) -> Response:
        log.error("%s can't be shown", request.url.path, exc_info=exc)
        text = "This page can't be shown because of a mistake in dnsworker. Its log says more."
        return self._html(request, "message.html", 500, {"title": "That went wrong", "text": text})


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,  # whatever is shown may be a stranger's: zone data, servers' words, comments
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "between": words.between, "kind": words.kind, "moment": words.moment, "number": words.number,
        "seconds": words.seconds, "state": words.status,
    }  # fmt: skip
    environment.filters["path"] = partial(quote, safe="")
    environment.globals |= {
        "ends_plot": plots.ends_plot, "durations_plot": plots.durations_plot, "shares": plots.shares,
        "target_state": words.target_state, "nameserver_state": words.nameserver_state,
        "reason": words.reason, "cursor": _to_cursor,
    }  # fmt: skip
    return environment


def _title(exc: HTTPException) -> str:
    return {404: "Nothing there", 405: "This page can only be read"}.get(exc.status_code, "Not possible")


def _sort_from(text: str | None) -> str:
    return (text or "").strip().lower()[:LONGEST_SEARCH]


def _to_cursor(pair: tuple[Any, Any]) -> str:
    """The last row of a page, as an address has it."""
    first, second = pair
    return f"{first.isoformat() if isinstance(first, datetime) else first}~{second}"


def _cursor(text: str | None, parse: Callable[[str, str], Any]) -> Any:
    """Raises `HTTPException` for what no page of ours has in its links."""
    if not text:
        return None
    first, _, second = text.partition("~") if "~" in text else ("", "", "")
    try:
        return parse(first, second)
    except ValueError as exc:
        raise HTTPException(404, "no page begins there; start again from the first one") from exc


def _moment_and_id(at: str, operation_id: str) -> tuple[datetime, str]:
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError(at)
    return moment, operation_id
