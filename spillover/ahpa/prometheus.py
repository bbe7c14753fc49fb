"""Asks Prometheus. Source: prometheus.io, "HTTP API"."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from urllib.parse import urlsplit

import aiohttp
import msgspec

SECONDS = 30.0
"""For one query."""
SILENT_SECONDS = 10.0
"""After several queries in a row without an answer, others are not asked for so long: each would
wait likewise. One such query may be a slow one."""
_MOST_UNANSWERED = 3
LARGEST_ANSWER = 2 * 2**20
"""In bytes. Two series of seven days have 0.7 MB."""
_LONGEST_REASON = 300

_log = logging.getLogger(__name__)


class PrometheusError(Exception):
    """There is no usable answer. The message says why."""


class NoAnswerInTimeError(PrometheusError):
    """The query took too long."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where Prometheus is."""

    url: str
    """With the prefix of its paths, if it has one."""
    token: str = ""
    """Bearer token, or ""."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url[:80]!r} is not a URL that begins with http:// or https://")
        if not self.token.isprintable():
            raise ValueError("the token has characters that are not printable")


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, rename={"result_type": "resultType"}):
    result_type: str = ""
    result: list[_Series] = []


class _Answer(msgspec.Struct):
    status: str = ""
    data: _Data = msgspec.field(default_factory=_Data)
    error: str = ""
    warnings: list[str] = []


_ANSWERS = msgspec.json.Decoder(_Answer)


class Prometheus:
    """A client. Its session must not follow proxies of the environment. `clock` returns seconds."""

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self._silent_since = -inf
        self._unanswered = 0

    async def range(
        self, source: Source, expression: str, begin: int, end: int, step: int, mark: str
    ) -> Mapping[str, dict[int, float]]:
        """The values at begin, begin + step, and so on to `end`, in seconds since 1970, for each
        value of the label `mark`. Values that are no numbers are left out. Raises
        PrometheusError."""
        form = {"query": expression, "start": str(begin), "end": str(end), "step": str(step)}
        answer = await self._ask(source, "query_range", form)
        if answer.data.result_type != "matrix":
            raise PrometheusError("the answer is no matrix")
        found: dict[str, dict[int, float]] = {}
        for series in answer.data.result:
            part = found.setdefault(series.metric.get(mark, ""), {})
            for time, text in series.values:
                if begin <= time <= end and (value := _number(text)) is not None:
                    part[round(time)] = value
        return found

    async def _ask(self, source: Source, path: str, form: Mapping[str, str]) -> _Answer:
        is_silent = self._unanswered >= _MOST_UNANSWERED
        if is_silent and self._clock() - self._silent_since < SILENT_SECONDS:
            raise PrometheusError("there was no answer lately")
        url = f"{source.url.rstrip('/')}/api/v1/{path}"
        headers = {"Authorization": f"Bearer {source.token}"} if source.token else {}
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._session.post(
                    url, data=form, headers=headers, allow_redirects=False
                ) as response,
            ):
                content = await response.content.read(LARGEST_ANSWER)
                while not response.content.at_eof() and len(content) < LARGEST_ANSWER:
                    content += await response.content.read(LARGEST_ANSWER - len(content))
                is_whole = response.content.at_eof()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = f"{type(error).__name__} {error}".strip()[:_LONGEST_REASON]
            if isinstance(error, TimeoutError):
                self._unanswered += 1
                self._silent_since = self._clock()
                raise NoAnswerInTimeError(f"no answer within {SECONDS:.0f} s") from error
            raise PrometheusError(reason) from error
        self._unanswered = 0
        if not is_whole:
            raise PrometheusError(f"the answer has more than {LARGEST_ANSWER} bytes")
        try:
            answer = _ANSWERS.decode(content)
        except (msgspec.MsgspecError, RecursionError) as error:
            reason = f"{response.status}: not an answer of Prometheus: {error}"
            raise PrometheusError(reason[:_LONGEST_REASON]) from error
        if response.status != 200 or answer.status != "success":
            raise PrometheusError(f"{response.status}: {answer.error}"[:_LONGEST_REASON])
        for warning in answer.warnings[:1]:
            _log.warning("prometheus", extra={"reason": warning[:_LONGEST_REASON]})
        return answer


def _number(text: str) -> float | None:
    """None for NaN, infinities and what is no number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
