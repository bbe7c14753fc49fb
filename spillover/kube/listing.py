"""Complete lists, for those who look once."""

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
    """Every object of a collection, page by page, as it is when the first page is asked for or
    later. `select` are parameters that narrow it. Raises ApiError and NoAnswerError. What cannot
    be read is left out and told to `unreadable`."""
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
