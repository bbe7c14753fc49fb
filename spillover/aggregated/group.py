"""What an API group offers, and how its answers and errors look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a group, for discovery."""

    name: str
    """Plural, as in paths."""
    singular: str
    kind: str
    verbs: tuple[str, ...]


class NotFoundError(Exception):
    """There is no such object."""


class ApiGroup(Protocol):
    """One version of a group. All its resources are namespaced."""

    group: str
    version: str

    def resources(self) -> list[Resource]: ...

    async def get(self, namespace: str, resource: str, name: str) -> Mapping[str, Any]:
        """The object. Raises NotFoundError."""

    async def list(self, namespace: str, resource: str) -> Mapping[str, Any]:
        """All objects, of all namespaces if `namespace` is empty. Raises NotFoundError."""


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    """An error as clients of Kubernetes expect it. Source: k8s.io/apimachinery, metav1.Status."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def resource_list(api: ApiGroup) -> dict[str, Any]:
    """The answer to discovery."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{api.group}/{api.version}",
        "resources": [
            {
                "name": each.name,
                "singularName": each.singular,
                "namespaced": True,
                "kind": each.kind,
                "verbs": list(each.verbs),
            }
            for each in api.resources()
        ],
    }
