"""One page of a list in an answer of the API server."""

import msgspec

from spillover.api.partial import elements


class ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct):
    """One page of a list."""

    metadata: ListMeta
    kind: str = ""
    items: list[msgspec.Raw] | None = None
    """The objects, not decoded: one that does not decode must not stop the others."""


class _Frame(msgspec.Struct):
    metadata: ListMeta
    kind: str = ""


_PAGES = msgspec.json.Decoder(Page)
_FRAMES = msgspec.json.Decoder(_Frame)


def page(content: bytes) -> Page:
    """Decodes a page. Raises msgspec.MsgspecError if `content` is not a list."""
    try:
        return _PAGES.decode(content)
    except RecursionError:  # one of the objects is nested too deep
        items, frame = elements(content)
        found = _FRAMES.decode(frame)
        return Page(found.metadata, found.kind, [msgspec.Raw(each) for each in items])
