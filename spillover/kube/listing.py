"""Complete lists, for those who look once."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from spillover.kube.session import ApiSession, NoAnswerError

T = TypeVar("T")
_PAGE = 500
_MOST_PAGES = 10_000


class _ListMeta(msgspec.Struct):
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw]


async def list_all(
    session: ApiSession,
    path: str,
    decode: Callable[[msgspec.Raw], T],
    select: Mapping[str, str] = MappingProxyType({}),
) -> list[T]:
    """Every object of a collection, page by page, as it is when the first page is asked for or
    later. `select` are parameters that narrow it. Raises ApiError and NoAnswerError."""
    found: list[T] = []
    token = ""
    for _ in range(_MOST_PAGES):
        content = await session.request(
            "GET",
            path,
            params={**select, "limit": str(_PAGE), **({"continue": token} if token else {})},
        )
        try:
            page = msgspec.json.decode(content, type=_List)
            found += [decode(raw) for raw in page.items]
        except (msgspec.MsgspecError, ValueError) as error:
            raise NoAnswerError(f"GET {path}: {error}") from error
        token = page.metadata.continue_
        if not token:
            break
    return found
