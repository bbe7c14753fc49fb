"""Requests to the API server on one pooled session, with a limit on every wait."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from spillover.kube.credentials import Credentials, CredentialsError

REQUEST_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
_MOST_REQUESTS = 16
"""At once, streams apart. The pool takes its connections in turn, so that all stay in use: without
a bound, the largest crowd of requests ever seen would say how many there are for good."""
_SECONDS = re.compile(r"[0-9]{1,9}")
_LONGEST_RETRY_AFTER = 30.0

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""Server-side apply. JSON is YAML."""

_NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError, CredentialsError)

_log = logging.getLogger(__name__)


class ApiError(Exception):
    """The API server's refusal: HTTP status, its reason (such as Conflict) and its message, and in
    how many seconds it wants to be asked again."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class NoAnswerError(Exception):
    """The request got no answer: it may have been executed, or may be yet."""


class NotSentError(NoAnswerError):
    """The request was not sent: too many others were under way."""


class _Status(msgspec.Struct):
    reason: str = ""
    message: str = ""


class ApiSession:
    """An async context manager. Requests fail with ApiError or NoAnswerError, nothing else."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._requests: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(_MOST_REQUESTS)

    async def __aenter__(self) -> Self:
        await self._credentials.reload()
        self._requests, self._streams = self._connect(), self._connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in (self._requests, self._streams):
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
        """The body of a 2xx answer. `path` starts with /, `body` is anything msgspec encodes."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        data = None if body is None else msgspec.json.encode(body)
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                await self._room.acquire()
        except TimeoutError:
            raise NotSentError(f"{method} {path}: too many requests are under way") from None
        try:
            # aiohttp's own limit is rounded up to whole seconds, and none when it is not positive.
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
        """The body of a long answer, as it comes. Silence for `idle_seconds` is a NoAnswerError."""
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
            raise NoAnswerError(f"GET {path}: {type(error).__name__} {error}") from error

    def _connect(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._credentials.ssl_context(), limit=0, keepalive_timeout=120
        )
        return aiohttp.ClientSession(connector=connector, trust_env=False, read_bufsize=2**20)

    async def _refusal(self, response: aiohttp.ClientResponse, content: bytes) -> ApiError:
        if response.status == 401:
            try:
                await self._credentials.reload()  # rotated: the next try uses the new ones
            except CredentialsError as error:
                _log.warning("%s", error)
        try:
            answer = msgspec.json.decode(content, type=_Status)
        except msgspec.MsgspecError:  # a proxy's HTML, or text
            answer = _Status(message=content[:200].decode(errors="replace"))
        seconds = response.headers.get("Retry-After", "")
        return ApiError(
            response.status,
            answer.reason,
            answer.message,
            # As a date, which no API server sends, it is ignored.
            retry_after=min(_LONGEST_RETRY_AFTER, int(seconds))
            if _SECONDS.fullmatch(seconds)
            else 0,
        )


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Left midway, a stream would take its time over a goodbye, and might outlive the loop."""
    connection = response.connection  # None at the end of the stream
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _open(session: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
    if session is None:
        raise RuntimeError("ApiSession is used outside its async with block")
    return session
