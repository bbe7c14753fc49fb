"""Writes a Binding that is executed at most once, and finds out whether it was executed.

Every Binding carries the pod's uid and resourceVersion as preconditions, and the unit's labels and
annotations. API servers from 1.35 on copy both onto the pod (feature PodTopologyLabelsAdmission).
Older API servers copy only the annotations. For them the binder patches the labels onto the pod
before the Binding.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from spillover.api.kubernetes import Taint, Toleration
from spillover.api.partial import decoded
from spillover.core.model.pods import UNIT_ANNOTATION, Pod
from spillover.core.model.taints import tolerated
from spillover.kube.reading import pod_in
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError, NotSentError

_log = logging.getLogger(__name__)

FENCE_ANNOTATION = "spillover.dev/fence"
"""Is written only to change the version of an unbound pod, when the outcome of a Binding is
unknown."""

REPLACED_LABELS_ANNOTATION = "spillover.dev/replaced-labels"
"""On API servers before 1.35: the labels that the binder set on a pod before the Binding, as JSON.
The value of each label is its value before that, or null. If the Binding fails, the next order
restores labels from this record."""

_FENCE_SECONDS = 10.0
_VERSION_SECONDS = 3.0
_OUR_POLICY = "ValidatingAdmissionPolicy 'spillover-bindings'"
_LASTING = (400, 403, 422)
"""Statuses that a retry does not change: admission refused the write, or a value is invalid."""
_NO_TIME = "there was no time left for the binding"
_FIRST_WITH_LABELS = (1, 35)


@dataclass(frozen=True, slots=True)
class Order:
    """The Binding to write."""

    namespace: str
    name: str
    uid: str
    version: int
    node: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    tolerate: tuple[Taint, ...]
    deadline: float
    """The end of all tries, in seconds of the binder's clock."""

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The pod is bound to the node of the order, with the labels and annotations of the order."""


@dataclass(frozen=True, slots=True)
class Refused:
    """This order has not bound the pod and will not bind it."""

    reason: str
    """The cause. The same cause always has the same text."""
    pod: Pod | None = None
    """The pod at its current version, if the binder has read it."""
    is_lasting: bool = False
    """Whether the API server refuses the labels or annotations of the unit, and would refuse them
    again."""


@dataclass(frozen=True, slots=True)
class Changed:
    """This order has not bound the pod and will not bind it: the pod has another version."""

    pod: Pod
    """The pod at its current version."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The request was not sent, or the API server rejected it unread. A new try is allowed."""

    version: int
    """The version for the next try: that of the pod after the preparation of the Binding."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The Binding may have been executed, or may still be executed. `Binder.fence` finds out."""

    version: int
    """The pod's version that the Binding names."""


class Binder:
    """Writes Bindings.

    `labels_in_binding` says whether the API server copies labels from a Binding. If it is None, the
    binder reads the version of the API server before the first Binding, and decides by it. `clock`
    returns seconds and never goes back."""

    def __init__(
        self, session: ApiSession, *, labels_in_binding: bool | None, clock: Callable[[], float]
    ) -> None:
        self._session = session
        self._labels_in_binding = labels_in_binding
        self._clock = clock

    async def bind(self, order: Order) -> Confirmed | Refused | Changed | Busy | Unknown:
        """Makes one try, within the deadline of the order."""
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
            return Refused(_refusal(error), is_lasting=error.status in _LASTING)
        except NotSentError:
            return Busy(version)
        except NoAnswerError:
            return Unknown(version)
        return Confirmed()

    async def fence(self, order: Order, version: int) -> Confirmed | Refused | None:
        """Makes the Binding that was sent at `version` impossible, if it is not executed yet, and
        returns its outcome. Returns None if the outcome is still unknown: call `fence` again."""
        mark = f"{version}-{uuid.uuid4().hex[:8]}"  # new, so that the version changes
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
            return None  # something drops our change: the Binding can still be executed
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
    ) -> Confirmed | Refused | Changed | Unknown:
        """Reads the pod after a 409, to find out whose write caused the conflict. It may be our own
        Binding, if something between this process and the API server repeats requests."""
        if self._left(order) <= 0:
            return Unknown(version)
        try:
            pod = await self._get(order, self._left(order))
        except ApiError as error:
            return Refused("the pod is gone") if error.status == 404 else Unknown(version)
        except NoAnswerError:
            return Unknown(version)
        return _outcome(pod, order) or Changed(pod)

    async def _look(self, order: Order) -> Confirmed | Refused | None:
        """Reads the pod after a refused fence: another pod may have the name by now. Returns None
        for a pod that is still unbound, because the Binding may still be in flight."""
        try:
            return _outcome(await self._get(order, _FENCE_SECONDS), order)
        except ApiError as error:
            return Refused("the pod is gone") if error.status == 404 else None
        except NoAnswerError:
            return None

    async def _are_labels_copied(self, order: Order) -> bool:
        """Returns whether the API server copies labels from a Binding. Raises NotSentError while
        the API server does not answer."""
        if self._labels_in_binding is None:
            seconds = min(_VERSION_SECONDS, self._left(order))
            try:
                self._labels_in_binding = await labels_in_binding(self._session, seconds)
            except (ApiError, NoAnswerError) as error:
                _log.warning("the API server's version is not known: %s", error)
                raise NotSentError(str(error)) from error
        return self._labels_in_binding

    async def _prepare(self, order: Order) -> int | Confirmed | Refused | Changed:
        """Writes what a Binding cannot carry: the labels on old API servers, and a toleration of a
        NoExecute taint of a virtual node's provider. Without the toleration that taint would evict
        the pod at once. Returns the version for the Binding, or the outcome of the order if the pod
        was found bound or changed."""
        labels_are_copied = await self._are_labels_copied(order)
        if labels_are_copied and not order.tolerate:
            return order.version
        content = await self._session.request("GET", order.path, seconds=self._left(order))
        found = pod_in(content)
        if outcome := _outcome(found, order):
            return outcome
        if found.version != order.version:
            return Changed(found)  # the decision may be different for the changed pod
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
    """Returns whether this API server copies the labels of a Binding onto the pod by default.

    Returns False if the API server does not report its version: False is correct for every version
    and costs one more patch. Raises ApiError for a fault of the server, and NoAnswerError if there
    is no answer within `seconds`."""
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


def _outcome(pod: Pod, order: Order) -> Confirmed | Refused | None:
    """The outcome of the order by the current state of the pod, or None if it is still open."""
    if pod.uid != order.uid:
        return Refused("the pod is gone")
    if pod.node:
        ours = pod.annotations.get(UNIT_ANNOTATION) == order.annotations.get(UNIT_ANNOTATION)
        return Confirmed() if pod.node == order.node and ours else Refused("the pod is bound", pod)
    if pod.terminating:
        return Refused("the pod is being deleted", pod)
    return None


def _label_patch(order: Order, pod: Pod) -> dict[str, Any]:
    """The metadata of a patch that sets the labels of the unit and restores the labels that an
    earlier order has replaced. Empty if the pod needs no change."""
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
    except msgspec.MsgspecError:  # a user has changed the annotation
        return {}


def _with_tolerations(
    present: list[dict[str, Any]], taints: tuple[Taint, ...]
) -> list[dict[str, Any]] | None:
    """The pod's tolerations and the missing ones, or None if none is missing."""
    have = msgspec.convert(present, list[Toleration])
    lacking = [taint for taint in taints if not tolerated([taint], have)]
    if not lacking:
        return None
    return present + [
        {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
        for taint in lacking
    ]


def _refusal(error: ApiError) -> str:
    """The reason for a refusal. It omits the message of the API server, which may contain versions
    and times. The message of our own admission policy is kept: it names the keys."""
    refused = f"the API server refused the binding: {error.status} {error.reason}".strip()
    _, found, words = str(error).partition(_OUR_POLICY)
    return f"{refused}: {words.partition('denied request: ')[2]}" if found else refused
