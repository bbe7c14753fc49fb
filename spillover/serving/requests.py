"""Reads requests with limits, and writes errors in one format: a status and `{"error": reason}`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)


async def decoded(request: web.Request, decoder: msgspec.json.Decoder[T], seconds: float) -> T:
    """Decodes the body of the request, which must be complete within `seconds`. Raises an HTTP 4xx
    if it is not. Also raises the errors of the decoder: MsgspecError, RecursionError or
    UnicodeError."""
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(text="Content-Encoding: none is supported")
    try:
        async with asyncio.timeout(seconds):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"no whole body within {seconds:.0f} s") from None
    except web.RequestPayloadError as error:
        raise web.HTTPBadRequest(text=f"no whole body: {error}") from error
    return decoder.decode(body)


UNDECODABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every error in one format, also unexpected exceptions."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        return web.json_response({"error": error.text}, status=error.status, headers=_kept(error))
    except ConnectionError:
        raise  # the client has closed the connection
    except Exception:  # noqa: BLE001 - a bug: logged with traceback, answered like any error
        _log.exception("request failed: %s %s", request.method, request.path)
        return web.json_response({"error": "internal error: see the log"}, status=500)


def client_name(request: web.Request) -> str:
    """The common name of the client's certificate, which TLS has verified; "" without one."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    subject = (certificate or {}).get("subject", ())
    return next((value for part in subject for key, value in part if key == "commonName"), "")


def json_answer(answer: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def _kept(error: web.HTTPError) -> dict[str, str]:
    """The headers to keep from the error: Allow, which names the methods of a path."""
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
