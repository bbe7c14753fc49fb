"""Labels and annotations of namespaces: where a namespace's defaults are written."""

from collections.abc import Mapping

from spillover.api.kubernetes import NamespaceObject
from spillover.kube.reading import Unreadable

Namespace = tuple[str, Mapping[str, str]]
"""Name, and its annotations and labels together; a label comes before an annotation."""


def namespace_from_wire(wire: NamespaceObject) -> Namespace:
    metadata = wire.metadata
    return metadata.name, {**(metadata.annotations or {}), **(metadata.labels or {})}


class Namespaces:
    """A sink of a reflector."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, str]] = {}

    def get(self, name: str) -> Mapping[str, str]:
        return self._known.get(name, {})

    def put(self, item: Namespace) -> None:
        self._known[item[0]] = item[1]

    def drop(self, item: Namespace) -> None:
        self._known.pop(item[0], None)

    def keep(self, items: list[Namespace], version: int) -> None:  # noqa: ARG002 - a Sink's
        listed = {name for name, _ in items}
        for name in self._known.keys() - listed:
            del self._known[name]

    def unreadable(self, found: Unreadable) -> None:
        self._known.pop(found.identity.name, None)
