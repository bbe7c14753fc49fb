"""What the watches show of the cluster: autoscalers, HPAs and ReplicaSets."""

from collections.abc import Callable, Hashable, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

import msgspec

from spillover.api import ahpa
from spillover.api.errors import FieldError
from spillover.api.kubernetes import ObjectMeta
from spillover.core.autoscaling.autoscaler import (
    AutoscalerKey,
    InvalidAutoscaler,
    LoadedAutoscaler,
    Target,
    load,
)
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

MINIMUM_ANNOTATION = "spillover.dev/ahpa-min"
"""On an HPA: the minReplicas that its user has set."""
SET_ANNOTATION = "spillover.dev/ahpa-set-min"
"""On an HPA: the minReplicas that Spillover has set last."""
HOLDER_ANNOTATION = "spillover.dev/ahpa"
"""On an HPA: the name of the AdvancedHorizontalPodAutoscaler that moves its minReplicas."""

_LONGEST_BASE = 58
"""Of a pod's name, before its random end. Source: k8s.io/apiserver, names.SimpleNameGenerator."""

_MOST_REPLICA_SETS = 50
"""A Deployment keeps 10 of them by default. Each is a part of every query."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Stored:
    """An AdvancedHorizontalPodAutoscaler as the watch shows it."""

    loaded: LoadedAutoscaler
    created: str
    status: dict[str, Any]
    version: str


class _Reference(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    name: str = ""
    api_version: str = ""


class _HpaSpec(msgspec.Struct, frozen=True, rename="camel"):
    scale_target_ref: _Reference = _Reference()
    min_replicas: int | None = None
    max_replicas: int = 0


class _HpaStatus(msgspec.Struct, frozen=True, rename="camel"):
    current_replicas: int | None = None


class Hpa(msgspec.Struct, frozen=True):
    """A HorizontalPodAutoscaler. Source: k8s.io/api/autoscaling/v2."""

    metadata: ObjectMeta
    spec: _HpaSpec = _HpaSpec()
    status: _HpaStatus = _HpaStatus()

    @property
    def key(self) -> tuple[str, str]:
        return self.metadata.namespace, self.metadata.name

    @property
    def least(self) -> int:
        return 1 if self.spec.min_replicas is None else self.spec.min_replicas

    @property
    def holder(self) -> str:
        """The name of the object that moves its minimum, or ""."""
        return (self.metadata.annotations or {}).get(HOLDER_ANNOTATION, "")

    def aims_at(self, target: Target) -> bool:
        reference = self.spec.scale_target_ref
        group = reference.api_version.rpartition("/")[0]
        return (reference.kind, reference.name) == (target.kind, target.name) and (
            group == target.group
        )


class _Owned(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


class Known(Generic[T, K]):
    """Objects of one collection by their keys, as the sink of their reflector. An object that does
    not decode counts as absent, unless `replaced` makes another one of it."""

    def __init__(
        self,
        key: Callable[[T], K],
        key_of: Callable[[Unreadable], K],
        replaced: Callable[[Unreadable], T | None] = lambda _: None,
    ) -> None:
        self.objects: dict[K, T] = {}
        self.key = key
        self._key_of = key_of
        self._replaced = replaced

    def put(self, item: T) -> None:
        self.objects[self.key(item)] = item

    def drop(self, item: T) -> None:
        self.objects.pop(self.key(item), None)

    def keep(self, listed: Set[K], version: int) -> None:  # noqa: ARG002 - a Sink's
        for key in self.objects.keys() - listed:
            del self.objects[key]

    def unreadable(self, found: Unreadable) -> T | None:
        replaced = self._replaced(found)
        if replaced is None:
            self.objects.pop(self._key_of(found), None)
        return replaced


def _names(found: Unreadable) -> tuple[str, str]:
    return found.identity.namespace, found.identity.name


def pods_of(kind: str, name: str, replica_sets: Sequence[str]) -> str:
    """A regular expression for the names of the pods that a workload has, or had lately. "" if it
    never had any."""
    if kind == "StatefulSet":
        return f"{_escaped(name)}-[0-9]+"
    # The name of a Deployment alone would take in the pods of another one that begins alike.
    owners = replica_sets if kind == "Deployment" else [name]
    return "|".join(f"{_escaped(f'{each}-'[:_LONGEST_BASE])}[a-z0-9]{{5}}" for each in owners)


def _escaped(name: str) -> str:
    """Names have letters, digits, hyphens and dots."""
    return name.replace(".", "\\.")


class View:
    """All that the service knows of the cluster."""

    def __init__(self) -> None:
        self.autoscalers: Known[Stored, AutoscalerKey] = Known(
            lambda item: item.loaded.key, lambda found: AutoscalerKey(*_names(found)), _unreadable
        )
        self.hpas: Known[Hpa, tuple[str, str]] = Known(lambda item: item.key, _names)
        self.replica_sets: Known[ObjectMeta, tuple[str, str]] = Known(
            lambda item: (item.namespace, item.name), _names
        )

    def replica_sets_of(self, namespace: str, uid: str) -> list[str]:
        """The names of a Deployment's newest ReplicaSets, also of those that have no pods any
        more."""
        found = [
            each
            for each in self.replica_sets.objects.values()
            if each.namespace == namespace
            and any(owner.uid == uid for owner in each.owner_references or ())
        ]
        found.sort(key=lambda each: each.creation_timestamp or "")
        return sorted(each.name for each in found[-_MOST_REPLICA_SETS:])

    def other_hpa(self, namespace: str, target: Target) -> Hpa | None:
        """An HPA that aims at the target."""
        return next(
            (
                hpa
                for hpa in self.hpas.objects.values()
                if hpa.metadata.namespace == namespace and hpa.aims_at(target)
            ),
            None,
        )

    def older_autoscaler(self, stored: Stored, target: Target) -> str:
        """The name of an older AdvancedHorizontalPodAutoscaler with the same target, or ""."""
        key = stored.loaded.key

        def rank(each: Stored) -> tuple[str, str]:
            return each.created, each.loaded.key.name

        rivals = (
            each
            for each in self.autoscalers.objects.values()
            if each.loaded.key.namespace == key.namespace
            and not isinstance(each.loaded, InvalidAutoscaler)
            and (each.loaded.target.kind, each.loaded.target.name) == (target.kind, target.name)
        )
        oldest = min(rivals, key=rank, default=stored)
        return "" if oldest.loaded.key == key else oldest.loaded.key.name


def watches(
    session: ApiSession, view: View, random: Random, clock: Callable[[], float]
) -> tuple[Reflector[Any], ...]:
    """The reflectors that keep the view up to date."""
    return (
        Reflector(
            session,
            f"/apis/{ahpa.GROUP}/{ahpa.VERSION}/{ahpa.PLURAL}",
            _stored,
            view.autoscalers,
            random,
            clock,
            may_be_absent=True,
        ),
        Reflector(
            session,
            "/apis/autoscaling/v2/horizontalpodautoscalers",
            _HPAS.decode,
            view.hpas,
            random,
            clock,
        ),
        Reflector(
            session, "/apis/apps/v1/replicasets", _metadata, view.replica_sets, random, clock
        ),
    )


_HPAS = msgspec.json.Decoder(Hpa)
_OWNED = msgspec.json.Decoder(_Owned)


def _metadata(raw: bytes | msgspec.Raw) -> ObjectMeta:
    return _OWNED.decode(raw).metadata


def _stored(raw: bytes | msgspec.Raw) -> Stored:
    found = msgspec.json.decode(raw, type=dict[str, Any])
    metadata, status = found["metadata"], found.get("status")
    return Stored(
        load(found),
        metadata.get("creationTimestamp") or "",
        status if isinstance(status, dict) else {},
        metadata["resourceVersion"],
    )


def _unreadable(found: Unreadable) -> Stored:
    """An object that cannot be read is one with an error: it is not scaled, and keeps its place."""
    who = found.identity
    errors = (FieldError("spec", f"cannot be read: {found.reason}"),)
    invalid = InvalidAutoscaler(AutoscalerKey(who.namespace, who.name), who.uid, 0, errors)
    return Stored(invalid, "", {}, str(who.version))
