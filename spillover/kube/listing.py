"""Complete lists, for callers that need no watch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from spillover.kube.pages import page
from spillover.kube.reading import Unreadable, readable
from spillover.kube.session import ApiSession, NoAnswerError

T = TypeVar("T")
_PAGE = 500
_MOST_PAGES = 10_000


async def list_all(
    session: ApiSession,
    path: str,
    decode: Callable[[bytes | msgspec.Raw], T],
    select: Mapping[str, str] = MappingProxyType({}),
    unreadable: Callable[[Unreadable], None] | None = None,
) -> list[T]:
    """Lists every object of a collection, page by page. Each object has the version that it had at
    the request of the first page, or a later one. `select` are query parameters that narrow the
    collection. Objects that do not decode are left out and passed to `unreadable`. Raises ApiError
    and NoAnswerError."""
    found: list[T] = []
    token = ""
    for _ in range(_MOST_PAGES):
        content = await session.request(
            "GET",
            path,
            params={**select, "limit": str(_PAGE), **({"continue": token} if token else {})},
        )
        try:
            listed = page(content)
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"GET {path}: {error}") from error
        for raw in listed.items or ():
            item = readable(raw, decode)
            if isinstance(item, Unreadable):
                if unreadable is not None:
                    unreadable(item)
                continue
            found.append(item)
        token = listed.metadata.continue_
        if not token:
            break
    return found
