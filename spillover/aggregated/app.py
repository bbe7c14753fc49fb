"""The HTTP interface of an aggregated API server.

    /apis/GROUP/VERSION                                    discovery
    /apis/GROUP/VERSION/RESOURCE                           list of all namespaces
    /apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE      list of one
    /apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME one object

Everything is JSON, whatever the client prefers: no client insists on protobuf. Every path answers
401 to a client that is not the front proxy.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from spillover.aggregated.front_proxy import FrontProxy
from spillover.aggregated.group import ApiGroup, NotFoundError, resource_list, status
from spillover.serving.requests import Handler, client_name

LARGEST_REQUEST = 64 * 1024
"""In bytes. Only GET is served."""

_log = logging.getLogger(__name__)


def aggregated_app(api: ApiGroup, front_proxy: Callable[[], FrontProxy | None]) -> web.Application:
    """`front_proxy` returns who is admitted now, or None while it is not known."""

    async def discovery(_: web.Request) -> web.Response:
        return _answer(200, resource_list(api))

    async def one(request: web.Request) -> web.Response:
        return await _found(
            request, lambda found: api.get(found["namespace"], found["resource"], found["name"])
        )

    async def all_of_one(request: web.Request) -> web.Response:
        return await _found(request, lambda found: api.list(found["namespace"], found["resource"]))

    async def all_of_all(request: web.Request) -> web.Response:
        return await _found(request, lambda found: api.list("", found["resource"]))

    base = f"/apis/{api.group}/{api.version}"
    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[_only(front_proxy)])
    app.add_routes(
        [
            web.get(base, discovery),
            web.get(f"{base}/namespaces/{{namespace}}/{{resource}}/{{name}}", one),
            web.get(f"{base}/namespaces/{{namespace}}/{{resource}}", all_of_one),
            web.get(f"{base}/{{resource}}", all_of_all),
        ]
    )
    return app


def _only(front_proxy: Callable[[], FrontProxy | None]) -> Middleware:
    """Refuses everybody else, and answers errors as clients of Kubernetes expect them."""

    @web.middleware
    async def only_front_proxy(request: web.Request, handler: Handler) -> web.StreamResponse:
        known = front_proxy()
        if known is None or not known.admits(client_name(request)):
            return _answer(401, status(401, "Unauthorized", "only the API server may ask"))
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _answer(404, status(404, "NotFound", f"no such path: {request.path}"))
        except web.HTTPMethodNotAllowed:
            text = f"{request.method} is not supported"
            return _answer(405, status(405, "MethodNotAllowed", text))
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - a bug: logged with traceback, answered like any error
            _log.exception("request failed: %s", request.path)
            return _answer(500, status(500, "InternalError", "internal error: see the log"))

    return only_front_proxy


async def _found(
    request: web.Request, ask: Callable[[Mapping[str, str]], Awaitable[Mapping[str, Any]]]
) -> web.Response:
    try:
        return _answer(200, await ask(request.match_info))
    except NotFoundError as error:
        return _answer(404, status(404, "NotFound", str(error)))


def _answer(code: int, body: Mapping[str, Any]) -> web.Response:
    content = msgspec.json.encode(body)
    return web.Response(status=code, body=content, content_type="application/json")
