"""Labels and annotations of namespaces. They contain the defaults for the namespace's pods."""

from collections.abc import Set
from typing import NamedTuple

from spillover.api.kubernetes import NamespaceObject
from spillover.core.admission.mutate import NamespaceMarks
from spillover.kube.reading import Unreadable


class Namespace(NamedTuple):
    name: str
    marks: NamespaceMarks


def namespace_from_wire(wire: NamespaceObject) -> Namespace:
    metadata = wire.metadata
    return Namespace(
        metadata.name, NamespaceMarks(metadata.labels or {}, metadata.annotations or {})
    )


class Namespaces:
    """The known namespaces, as the sink of their reflector."""

    def __init__(self) -> None:
        self._known: dict[str, NamespaceMarks] = {}

    def get(self, name: str) -> NamespaceMarks:
        return self._known.get(name, NamespaceMarks())

    def put(self, item: Namespace) -> None:
        self._known[item.name] = item.marks

    def drop(self, item: Namespace) -> None:
        self._known.pop(item.name, None)

    def key(self, item: Namespace) -> str:
        return item.name

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        for name in self._known.keys() - listed:
            del self._known[name]

    def unreadable(self, found: Unreadable) -> None:
        self._known.pop(found.identity.name, None)
