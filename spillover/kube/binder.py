"""Writing a Binding so that it happens at most once, and finding out whether it did.

Every Binding carries the pod's uid and resourceVersion as preconditions, and in the same write the
unit's labels and annotations: API servers from 1.35 on copy both onto the pod (feature
PodTopologyLabelsAdmission). Older ones copy annotations only, and get the labels in a patch before.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from spillover.api.kubernetes import Taint, Toleration
from spillover.api.partial import decoded
from spillover.core.pods import UNIT_ANNOTATION, Pod
from spillover.core.taints import tolerated
from spillover.kube.reading import pod_in
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError, NotSentError

_log = logging.getLogger(__name__)

FENCE_ANNOTATION = "spillover.dev/fence"
"""Written only to change an unbound pod's version, when the outcome of a Binding is unknown."""

REPLACED_LABELS_ANNOTATION = "spillover.dev/replaced-labels"
"""On API servers before 1.35: the labels that we set on a pod before binding it, as JSON, each with
the value it had before or null. If that binding fails, the next one starts from there."""

_FENCE_SECONDS = 10.0
_VERSION_SECONDS = 3.0
_OUR_POLICY = "ValidatingAdmissionPolicy 'spillover-bindings'"
_NO_TIME = "there was no time left for the binding"
_FIRST_WITH_LABELS = (1, 35)


@dataclass(frozen=True, slots=True)
class Order:
    """What to write. `deadline` is in seconds of the binder's clock."""

    namespace: str
    name: str
    uid: str
    version: int
    node: str
    labels: Mapping[str, str]
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
    """The pod was not bound by this order and will not be. `reason` is constant for its cause;
    `pod` is the pod as it was found, if it was looked at."""

    reason: str
    pod: Pod | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """Not bound, and it will not be by this order: the pod has another version, as in `pod`."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Busy:
    """The request was not sent, or turned away unread. The order may be tried again, at `version`:
    that of the pod after what was prepared for it."""

    version: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """The Binding sent at `version` may be executed yet: `fence` finds out."""

    version: int


class Binder:
    """`labels_in_binding`: whether the API server copies labels from a Binding. None: its version
    tells, which is read before the first Binding. `clock` gives seconds and never goes back."""

    def __init__(
        self, session: ApiSession, *, labels_in_binding: bool | None, clock: Callable[[], float]
    ) -> None:
        self._session = session
        self._labels_in_binding = labels_in_binding
        self._clock = clock

    async def bind(self, order: Order) -> Bound | Refused | Changed | Busy | Unknown:
        """One try, within the deadline."""
        version = order.version
        if self._left(order) <= 0:
            return Refused(_NO_TIME)
        try:
            prepared = await self._prepare(order)
            if not isinstance(prepared, int):
                return prepared
            version = prepared
            if self._left(order) <= 0:
                return Refused(_NO_TIME)
            await self._post(order, version)
        except ApiError as error:
            if error.status >= 500 or error.status == 408:
                return Unknown(version)
            if error.status == 429:
                return Busy(version)
            if error.status == 409:
                return await self._after_conflict(order, version)
            return Refused(_refusal(error))
        except NotSentError:
            return Busy(version)
        except NoAnswerError:
            return Unknown(version)
        return Bound()

    async def fence(self, order: Order, version: int) -> Bound | Refused | None:
        """Make the Binding sent at `version` impossible, if it is not executed yet, and read back.
        None: no answer; try again."""
        mark = f"{version}-{uuid.uuid4().hex[:8]}"  # one that the pod does not carry yet
        patch = {"metadata": {"uid": order.uid, "annotations": {FENCE_ANNOTATION: mark}}}
        try:
            pod = await self._patch(order, patch, _FENCE_SECONDS)
        except NoAnswerError:
            return None
        except ApiError as error:
            return Refused("the pod is gone") if error.status == 404 else await self._look(order)
        if outcome := _outcome(pod, order):
            return outcome
        if pod.version <= version:
            return None  # somebody undoes our change: the Binding can still be executed
        return Refused("the binding was not executed", pod)

    async def _post(self, order: Order, version: int) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": order.name,
                "namespace": order.namespace,
                "uid": order.uid,
                "resourceVersion": str(version),
                "labels": order.labels,
                "annotations": order.annotations,
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": order.node},
        }
        await self._session.request(
            "POST", f"{order.path}/binding", body=binding, seconds=self._left(order)
        )

    async def _after_conflict(
        self, order: Order, version: int
    ) -> Bound | Refused | Changed | Unknown:
        """What a 409 leaves to do. Only a look at the pod tells whose write was in the way: where
        something between us and the API server repeats requests, it may have been our own."""
        if self._left(order) <= 0:
            return Unknown(version)
        try:
            pod = await self._get(order, self._left(order))
        except ApiError as error:
            return Refused("the pod is gone") if error.status == 404 else Unknown(version)
        except NoAnswerError:
            return Unknown(version)
        return _outcome(pod, order) or Changed(pod)

    async def _look(self, order: Order) -> Bound | Refused | None:
        """After a fence was refused: perhaps another pod has the name by now. A pod that is still
        unbound says nothing, for the Binding may be on its way."""
        try:
            return _outcome(await self._get(order, _FENCE_SECONDS), order)
        except ApiError as error:
            return Refused("the pod is gone") if error.status == 404 else None
        except NoAnswerError:
            return None

    async def _are_labels_copied(self, order: Order) -> bool:
        """Raises NotSentError while the API server does not answer."""
        if self._labels_in_binding is None:
            seconds = min(_VERSION_SECONDS, self._left(order))
            try:
                self._labels_in_binding = await labels_in_binding(self._session, seconds)
            except (ApiError, NoAnswerError) as error:
                _log.warning("the API server's version is not known: %s", error)
                raise NotSentError(str(error)) from error
        return self._labels_in_binding

    async def _prepare(self, order: Order) -> int | Bound | Refused | Changed:
        """Write what a Binding cannot carry: labels on old API servers, and a toleration of a
        NoExecute taint of a virtual node's provider, which would evict the pod at once. Returns the
        version to bind, or what was found instead."""
        labels_are_copied = await self._are_labels_copied(order)
        if labels_are_copied and not order.tolerate:
            return order.version
        content = await self._session.request("GET", order.path, seconds=self._left(order))
        found = pod_in(content)
        if outcome := _outcome(found, order):
            return outcome
        if found.version != order.version:
            return Changed(found)  # perhaps to a pod that is placed otherwise
        raw: dict[str, Any] = decoded(content, msgspec.json.decode)
        metadata = {} if labels_are_copied else _label_patch(order, found)
        tolerations = _with_tolerations(raw["spec"].get("tolerations") or [], order.tolerate)
        if not metadata and tolerations is None:
            return found.version
        patch: dict[str, Any] = {
            "metadata": {**metadata, "uid": order.uid, "resourceVersion": str(found.version)}
        }
        if tolerations is not None:
            patch["spec"] = {"tolerations": tolerations}
        return (await self._patch(order, patch, self._left(order))).version

    async def _get(self, order: Order, seconds: float) -> Pod:
        return pod_in(await self._session.request("GET", order.path, seconds=seconds))

    async def _patch(self, order: Order, patch: object, seconds: float) -> Pod:
        content = await self._session.request(
            "PATCH", order.path, body=patch, content_type=MERGE_PATCH, seconds=seconds
        )
        return pod_in(content)

    def _left(self, order: Order) -> float:
        return order.deadline - self._clock()


class _Version(msgspec.Struct):
    major: str
    minor: str


async def labels_in_binding(session: ApiSession, seconds: float) -> bool:
    """Whether this API server copies a Binding's labels onto the pod by default. False, which is
    right everywhere but takes a patch more, where it does not tell its version. Raises ApiError
    for a fault of the server, and NoAnswerError when there is no answer within so many seconds."""
    try:
        content = await session.request("GET", "/version", seconds=seconds)
    except ApiError as error:
        if error.status >= 500 or error.status == 429:
            raise
        _log.warning("labels are patched before each binding: GET /version: %s", error)
        return False
    try:
        version = msgspec.json.decode(content, type=_Version)
        # Providers write the minor version as "35+".
        found = (int(version.major), int(version.minor.rstrip("+")))
    except (msgspec.MsgspecError, ValueError) as error:
        _log.warning("labels are patched before each binding: /version: %s", error)
        return False
    return found >= _FIRST_WITH_LABELS


def _outcome(pod: Pod, order: Order) -> Bound | Refused | None:
    """What the pod as it is now says of the order. None: still open."""
    if pod.uid != order.uid:
        return Refused("the pod is gone")
    if pod.node:
        ours = pod.annotations.get(UNIT_ANNOTATION) == order.annotations.get(UNIT_ANNOTATION)
        return Bound() if pod.node == order.node and ours else Refused("the pod is bound", pod)
    if pod.terminating:
        return Refused("the pod is being deleted", pod)
    return None


def _label_patch(order: Order, pod: Pod) -> dict[str, Any]:
    """metadata that sets the unit's labels, in place of those that an earlier order has set."""
    replaced = _replaced_labels(pod)
    before: dict[str, str | None] = {key: pod.labels.get(key) for key in order.labels}
    record = {key: replaced.get(key, value) for key, value in before.items()}
    labels = {**replaced, **order.labels}
    if all(pod.labels.get(key) == value for key, value in labels.items()) and record == replaced:
        return {}
    note = msgspec.json.encode(record).decode() if record else None
    return {"labels": labels, "annotations": {REPLACED_LABELS_ANNOTATION: note}}


def _replaced_labels(pod: Pod) -> dict[str, str | None]:
    try:
        return msgspec.json.decode(
            pod.annotations.get(REPLACED_LABELS_ANNOTATION, "{}"), type=dict[str, str | None]
        )
    except msgspec.MsgspecError:  # a user's hand was in it
        return {}


def _with_tolerations(
    present: list[dict[str, Any]], taints: tuple[Taint, ...]
) -> list[dict[str, Any]] | None:
    """The pod's tolerations and those it lacks, or None if it lacks none."""
    have = msgspec.convert(present, list[Toleration])
    lacking = [taint for taint in taints if not tolerated([taint], have)]
    if not lacking:
        return None
    return present + [
        {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
        for taint in lacking
    ]


def _refusal(error: ApiError) -> str:
    """Without the API server's message, which may name versions and times; but for that of our own
    admission policy, which names the keys."""
    refused = f"the API server refused the binding: {error.status} {error.reason}".strip()
    _, found, words = str(error).partition(_OUR_POLICY)
    return f"{refused}: {words.partition('denied request: ')[2]}" if found else refused
