"""Requests to the API server on one pooled session, with a limit on every wait."""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from math import inf
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from spillover.kube.credentials import Credentials, CredentialsError

REQUEST_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
_MOST_REQUESTS = 16
"""Requests at the same time, without streams. The pool uses its connections in turn, so that none
of them becomes idle. Without this bound, the largest burst of requests would fix the number of
connections for good."""
_SECONDS = re.compile(r"[0-9]{1,9}")
_LONGEST_RETRY_AFTER = 30.0

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""Server-side apply. JSON is YAML."""

_RELOAD_SECONDS = 5.0
"""The least time between two reads of the credentials after failures of TLS."""
_MOST_OLD = 4
"""The most pools with old certificates. They get no new connections; the open ones are used until
they end."""

_NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError, CredentialsError)

_log = logging.getLogger(__name__)


class ApiError(Exception):
    """A refusal by the API server.

    It has the HTTP status, the reason (such as Conflict), the message, and the seconds until the
    API server accepts a new try."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class NoAnswerError(Exception):
    """The request got no answer. It may have been executed, or may still be executed."""


class NotSentError(NoAnswerError):
    """The request was not sent, because too many other requests were in flight."""


class _Status(msgspec.Struct):
    reason: str = ""
    message: str = ""


class ApiSession:
    """An async context manager. Requests raise only ApiError or NoAnswerError."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._requests: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(_MOST_REQUESTS)
        self._identity: tuple[bytes, ...] = ()
        self._old: list[aiohttp.ClientSession] = []
        self._reloaded = -inf

    async def __aenter__(self) -> Self:
        await self._credentials.reload()
        self._identity = self._credentials.identity()
        context = self._credentials.ssl_context()
        self._requests, self._streams = _connected(context), _connected(context)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in (self._requests, self._streams, *self._old):
            if session is not None:
                await session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        seconds: float = REQUEST_SECONDS,
    ) -> bytes:
        """Returns the body of a 2xx answer. `path` starts with /. `body` is anything that msgspec
        encodes. `seconds` limits the whole request."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        data = None if body is None else msgspec.json.encode(body)
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                await self._room.acquire()
        except TimeoutError:
            raise NotSentError(f"{method} {path}: too many requests are under way") from None
        try:
            # aiohttp rounds its own limit up to whole seconds, and takes a limit of 0 or less for
            # no limit.
            async with (
                asyncio.timeout_at(deadline),
                _open(self._requests).request(
                    method,
                    self._credentials.server + path,
                    params=params,
                    data=data,
                    headers={"Content-Type": content_type, **await self._credentials.headers()},
                    timeout=timeout,
                    allow_redirects=False,
                ) as response,
            ):
                content = await response.read()
        except _NO_ANSWER as error:
            await self._doubt_credentials(error)
            raise NoAnswerError(f"{method} {path}: {type(error).__name__} {error}") from error
        finally:
            self._room.release()
        if response.status >= 300:
            raise await self._refusal(response, content)
        return content

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[aiohttp.StreamReader, None]:
        """Yields the body of a long answer as a stream. Raises NoAnswerError after a silence of
        `idle_seconds`."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=idle_seconds
        )
        try:
            async with _open(self._streams).get(
                self._credentials.server + path,
                params=params,
                headers=await self._credentials.headers(),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise await self._refusal(response, await response.read())
                try:
                    yield response.content
                finally:
                    _hang_up(response)
        except _NO_ANSWER as error:
            await self._doubt_credentials(error)
            raise NoAnswerError(f"GET {path}: {type(error).__name__} {error}") from error

    async def _doubt_credentials(self, error: BaseException) -> None:
        """Reads the credentials again after a failure of TLS: the API server's authority may have
        been rotated."""
        now = asyncio.get_running_loop().time()
        if _is_of_tls(error) and now - self._reloaded >= _RELOAD_SECONDS:
            self._reloaded = now
            await self._reload()

    async def _reload(self) -> None:
        """Reads the credentials again. Where certificates have changed, new connections use the new
        ones. Open connections are used until they end."""
        try:
            await self._credentials.reload()
            identity = self._credentials.identity()
            if identity == self._identity:
                return
            # A file may be incomplete, or the certificate may not match the key yet.
            context = self._credentials.ssl_context()
        except (CredentialsError, OSError, ValueError) as problem:
            _log.warning("credentials: %s", problem)
            return
        self._identity = identity
        before = (self._requests, self._streams)
        self._requests, self._streams = _connected(context), _connected(context)
        self._old += [session for session in before if session is not None]
        while len(self._old) > _MOST_OLD:
            await self._old.pop(0).close()
        _log.info("connections are made with new certificates")

    async def _refusal(self, response: aiohttp.ClientResponse, content: bytes) -> ApiError:
        if response.status == 401:
            await self._reload()  # a token or a client certificate may have been rotated
        try:
            answer = msgspec.json.decode(content, type=_Status)
        except msgspec.MsgspecError:  # a proxy's HTML, or text
            answer = _Status(message=content[:200].decode(errors="replace"))
        seconds = response.headers.get("Retry-After", "")
        return ApiError(
            response.status,
            answer.reason,
            answer.message,
            # A date is ignored: no API server sends one.
            retry_after=min(_LONGEST_RETRY_AFTER, int(seconds))
            if _SECONDS.fullmatch(seconds)
            else 0,
        )


def _connected(context: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=120)
    return aiohttp.ClientSession(connector=connector, trust_env=False, read_bufsize=2**20)


def _is_of_tls(error: BaseException | None) -> bool:
    """Returns whether the error, or one of its causes, is an error of TLS."""
    while error is not None:
        if isinstance(error, (ssl.SSLError, aiohttp.ClientSSLError)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Aborts the connection of an unfinished stream. An orderly close would take long, and might
    outlast the event loop."""
    connection = response.connection  # None at the end of the stream
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _open(session: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
    if session is None:
        raise RuntimeError("ApiSession is used outside its async with block")
    return session
