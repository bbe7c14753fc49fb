"""One page of a list, as the API server answers it."""

import msgspec

from spillover.api.partial import elements


class ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct):
    """`items` are left as they are: one that cannot be read keeps no others back."""

    metadata: ListMeta
    kind: str = ""
    items: list[msgspec.Raw] | None = None


class _Frame(msgspec.Struct):
    metadata: ListMeta
    kind: str = ""


_PAGES = msgspec.json.Decoder(Page)
_FRAMES = msgspec.json.Decoder(_Frame)


def page(content: bytes) -> Page:
    """Raises msgspec.MsgspecError for what is no list."""
    try:
        return _PAGES.decode(content)
    except RecursionError:  # in one of its objects
        items, frame = elements(content)
        found = _FRAMES.decode(frame)
        return Page(found.metadata, found.kind, [msgspec.Raw(each) for each in items])
