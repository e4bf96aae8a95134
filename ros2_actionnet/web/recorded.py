"""The routes by which the page reads a recording: pictures, scores and events of any time."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from ros2_actionnet.errors import ActionNetError
from ros2_actionnet.system.text import printable

if TYPE_CHECKING:
    from aiohttp import web

MOST_WAITING = 64
"""Pictures that all viewers together may wait for."""

LONGEST_SPAN = 240.0
"""Seconds of scores in one answer."""

_ANSWER_WITHIN = 30.0  # s


class Recorded(Protocol):
    """A recording, as far as it has been analyzed. Times are seconds from its first frame. Thread-safe."""

    def picture(self, time: float, *, small: bool) -> Future[bytes]:
        """Return the JPEG of the frame that is shown at a time: with its results, or `small` and as it came."""
        ...

    def scores(self, start: float, end: float) -> Mapping[str, Any]:
        """Return the results of a span."""
        ...

    def events(self) -> Mapping[str, Any]:
        """Return the events."""
        ...


def recorded_routes(recording: Recorded, admitted: Callable[[web.Request], bool]) -> list[web.RouteDef]:
    """Return the routes; `admitted` decides on each request."""
    from aiohttp import web

    waiting = 0

    def check(request: web.Request) -> None:
        if not admitted(request):
            raise web.HTTPUnauthorized(text="The token is missing.\n")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise web.HTTPForbidden(text="Only this page itself may ask for this.\n")

    def seconds(request: web.Request, name: str) -> float:
        try:
            value = float(request.query[name][:40])
        except (KeyError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise web.HTTPBadRequest(text=f"{name} is no time in seconds.\n")
        return value

    async def picture(request: web.Request) -> web.Response:
        nonlocal waiting
        check(request)
        time = seconds(request, "time")
        if waiting >= MOST_WAITING:
            raise web.HTTPServiceUnavailable(text="Too many pictures are waited for.\n", headers={"Retry-After": "1"})
        waiting += 1
        try:
            future = asyncio.wrap_future(recording.picture(time, small="small" in request.query))
            return web.Response(body=await asyncio.wait_for(future, _ANSWER_WITHIN), content_type="image/jpeg")
        except asyncio.TimeoutError:
            raise web.HTTPServiceUnavailable(text="The picture takes too long.\n") from None
        except ActionNetError as error:
            raise web.HTTPNotFound(text=printable(error, 2000) + "\n") from error
        finally:
            waiting -= 1

    async def scores(request: web.Request) -> web.Response:
        check(request)
        start, end = seconds(request, "from"), seconds(request, "to")
        if not 0 <= end - start <= LONGEST_SPAN:
            raise web.HTTPBadRequest(text=f"The span is not 0 to {LONGEST_SPAN:g} s.\n")
        return _answer(recording.scores(start, end))

    async def events(request: web.Request) -> web.Response:
        check(request)
        return _answer(recording.events())

    def _answer(content: Mapping[str, Any]) -> web.Response:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        return web.Response(text=text, content_type="application/json")

    return [
        web.get("/recording/picture", picture),
        web.get("/recording/scores", scores),
        web.get("/recording/events", events),
    ]
