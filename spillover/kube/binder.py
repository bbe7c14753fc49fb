"""Writing a Binding so that it happens at most once, and finding out whether it did.

Every Binding carries the pod's uid and resourceVersion as preconditions, and in the same write the
unit's labels and annotations: API servers from 1.35 on copy both onto the pod (feature
PodTopologyLabelsAdmission). Older ones copy annotations only, and get the labels in a patch before.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgspec

from spillover.api.kubernetes import PodObject, Taint
from spillover.core.pods import UNIT_ANNOTATION
from spillover.kube.backoff import Backoff
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

FENCE_ANNOTATION = "spillover.dev/fence"
"""Written only to change an unbound pod's version, when the outcome of a Binding is unknown."""

_CONFLICTS = 3
_FIRST_WITH_LABELS = (1, 35)


@dataclass(frozen=True, slots=True)
class Order:
    """What to write. `foreign_labels` are those of the policy's other units: an earlier order that
    failed may have left them. `deadline` is in seconds of the binder's clock."""

    namespace: str
    name: str
    uid: str
    version: int
    node: str
    labels: Mapping[str, str]
    foreign_labels: Mapping[str, str]
    annotations: Mapping[str, str]
    tolerate: tuple[Taint, ...]
    deadline: float

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


@dataclass(frozen=True, slots=True)
class Bound:
    """The pod is on the node that was ordered, with its labels and annotations."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The pod was not bound by this order and will not be. `reason` is constant for its cause."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The Binding sent at `version` may be executed yet: `fence` finds out."""

    version: int


class Binder:
    """`labels_in_binding`: whether the API server copies labels from a Binding. `clock` gives
    seconds and never goes back."""

    def __init__(
        self,
        session: ApiSession,
        *,
        labels_in_binding: bool,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._session = session
        self._labels_in_binding = labels_in_binding
        self._clock = clock
        self._random = random

    async def bind(self, order: Order) -> Bound | Refused | Unknown:
        """Tries until the API server's answer is final, the deadline, or too many conflicts."""
        backoff = Backoff(first=0.1, longest=2.0, random=self._random)
        for _ in range(1 + _CONFLICTS):
            try:
                prepared = await self._prepare(order)
                if not isinstance(prepared, Order):
                    return prepared
                order = prepared
                await self._post(order)
            except ApiError as error:
                if error.status >= 500:
                    return Unknown(order.version)
                if error.status not in (409, 429):
                    return Refused(_refusal(error))
                if error.status == 429:
                    await asyncio.sleep(min(backoff.next(), max(0.0, self._left(order))))
                after = await self._after_conflict(order)
                if not isinstance(after, Order):
                    return after
                order = after
            except NoAnswerError:
                return Unknown(order.version)
            else:
                return Bound()
        return Refused("the pod kept changing while it was being bound")

    async def fence(self, order: Order, version: int) -> Bound | Refused | None:
        """Make the Binding sent at `version` impossible, if it is not executed yet, and read back.
        None: no answer; try again."""
        patch = {"metadata": {"uid": order.uid, "annotations": {FENCE_ANNOTATION: str(version)}}}
        try:
            content = await self._session.request(
                "PATCH", order.path, body=patch, content_type=MERGE_PATCH
            )
            pod = _pod(content)
        except ApiError as error:
            # 404: gone. 409: another pod of that name. Anything else may pass.
            return Refused("the pod is gone") if error.status in (404, 409) else None
        except NoAnswerError:
            return None
        outcome = _outcome(pod, order)
        return outcome if outcome is not None else Refused("the binding was not executed")

    async def _post(self, order: Order) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": order.name,
                "namespace": order.namespace,
                "uid": order.uid,
                "resourceVersion": str(order.version),
                "labels": order.labels,
                "annotations": order.annotations,
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": order.node},
        }
        await self._session.request(
            "POST", f"{order.path}/binding", body=binding, seconds=self._left(order)
        )

    async def _after_conflict(self, order: Order) -> Order | Bound | Refused | Unknown:
        """What a 409 (or a server too busy to look) leaves to do."""
        if self._left(order) <= 0:
            return Refused("the binding was not executed in time")
        try:
            content = await self._session.request("GET", order.path, seconds=self._left(order))
            pod = _pod(content)
        except ApiError as error:
            return Refused(_refusal(error))
        except NoAnswerError:
            return Refused("the API server did not answer in time")
        outcome = _outcome(pod, order)
        if outcome is not None:
            return outcome
        return replace(order, version=int(pod.metadata.resource_version))

    def _left(self, order: Order) -> float:
        return order.deadline - self._clock()

    async def _prepare(self, order: Order) -> Order | Bound | Refused:
        """Write what a Binding cannot carry: labels on old API servers, and a toleration of a
        NoExecute taint of a virtual node's provider, which would evict the pod at once."""
        in_advance = not self._labels_in_binding and (order.labels or order.foreign_labels)
        if not in_advance and not order.tolerate:
            return order
        content = await self._session.request("GET", order.path, seconds=self._left(order))
        outcome = _outcome(_pod(content), order)
        if outcome is not None:
            return outcome
        pod: dict[str, Any] = msgspec.json.decode(content)
        metadata: dict[str, Any] = {
            "uid": order.uid,
            "resourceVersion": pod["metadata"]["resourceVersion"],
        }
        if in_advance:
            metadata["labels"] = _label_patch(order, pod["metadata"].get("labels") or {})
        tolerations = list(pod["spec"].get("tolerations") or ())
        wanted = [
            {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
            for taint in order.tolerate
        ]
        tolerations += [toleration for toleration in wanted if toleration not in tolerations]
        content = await self._session.request(
            "PATCH",
            order.path,
            body={"metadata": metadata, "spec": {"tolerations": tolerations}},
            content_type=MERGE_PATCH,
            seconds=self._left(order),
        )
        written = _pod(content)
        return replace(order, version=int(written.metadata.resource_version))


async def labels_in_binding(session: ApiSession) -> bool:
    """Whether this API server copies a Binding's labels onto the pod by default."""
    version = msgspec.json.decode(await session.request("GET", "/version"), type=dict[str, str])
    # Providers write the minor version as "35+".
    major, minor = (version[part].rstrip("+") for part in ("major", "minor"))
    return (int(major), int(minor)) >= _FIRST_WITH_LABELS


def _pod(content: bytes) -> PodObject:
    try:
        return msgspec.json.decode(content, type=PodObject)
    except msgspec.MsgspecError as error:
        raise NoAnswerError(f"not a pod: {error}") from error


def _outcome(pod: PodObject, order: Order) -> Bound | Refused | None:
    """What the pod as it is now says of the order. None: still open."""
    if pod.metadata.uid != order.uid:
        return Refused("the pod is gone")
    if pod.spec.node_name:
        marks = pod.metadata.annotations or {}
        ours = marks.get(UNIT_ANNOTATION) == order.annotations.get(UNIT_ANNOTATION)
        if pod.spec.node_name == order.node and ours:
            return Bound()
        return Refused("the pod is bound already")
    if pod.metadata.deletion_timestamp is not None:
        return Refused("the pod is being deleted")
    return None


def _label_patch(order: Order, present: Mapping[str, str]) -> dict[str, str | None]:
    """The unit's labels, and the removal of what an earlier order for another unit has left."""
    left_over = {
        key: None
        for key, value in order.foreign_labels.items()
        if present.get(key) == value and key not in order.labels
    }
    return {**left_over, **order.labels}


def _refusal(error: ApiError) -> str:
    """Without the API server's message, which may name versions and times."""
    return f"the API server refused the binding: {error.status} {error.reason}".strip()
