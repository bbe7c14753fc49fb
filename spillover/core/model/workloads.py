"""How many replicas the owners of a policy's pods want, for `maxReplicasRatio`."""

from collections import Counter
from dataclasses import dataclass

from spillover.api.kubernetes import ObjectMeta, WorkloadObject
from spillover.core.model.policy import PolicyKey
from spillover.core.model.selectors import Requirement, requirements_of

WORKLOAD_KINDS = ("deployments", "replicasets", "statefulsets")
"""Resources of apps/v1 that have replicas. maxReplicasRatio is a ratio of these replicas."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload with replicas."""

    kind: str
    """One of `WORKLOAD_KINDS`, such as deployments."""
    uid: str
    namespace: str
    replicas: int
    owner: str
    """Uid of the workload's own controller, or ""."""
    selector: tuple[Requirement, ...] = ()
    """How the workload selects its pods."""


_WITH_REPLICAS = frozenset({"Deployment", "ReplicaSet", "StatefulSet"})

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
"""An annotation of the object that shows a static pod. The API server accepts it only on a pod that
is created with a node."""

_WITH_A_GIVEN_NODE = frozenset({"DaemonSet", "Node"})


def owner_of(metadata: ObjectMeta) -> str:
    """The uid of the object's controller if the controller is a workload with replicas, else ""."""
    return next(
        (
            reference.uid
            for reference in metadata.owner_references or ()
            if reference.controller
            and reference.kind in _WITH_REPLICAS
            and reference.api_version.startswith("apps/")
        ),
        "",
    )


def controller_of(metadata: ObjectMeta) -> str:
    """The uid of the object's controller, of any kind, or ""."""
    return next((each.uid for each in metadata.owner_references or () if each.controller), "")


def has_given_node(metadata: ObjectMeta) -> bool:
    """Whether the pod is made for one given node: by a DaemonSet of any API group, or by a kubelet
    for a static pod. There is no unit to choose for such a pod."""
    return MIRROR_ANNOTATION in (metadata.annotations or {}) or any(
        reference.controller and reference.kind in _WITH_A_GIVEN_NODE
        for reference in metadata.owner_references or ()
    )


def workload_from_wire(wire: WorkloadObject, kind: str) -> Workload:
    metadata = wire.metadata
    return Workload(
        kind=kind,
        uid=metadata.uid,
        namespace=metadata.namespace,
        replicas=wire.spec.replicas if wire.spec.replicas is not None else 1,
        owner=owner_of(metadata),
        selector=requirements_of(wire.spec.selector),
    )


@dataclass(slots=True)
class _Members:
    """Counts of the live pods of one policy with a ratio."""

    owners: Counter[str]
    """Number of pods by the owner's uid."""
    loose: int = 0
    """Number of pods without an owner."""
    wanted: int | None = 0
    """Sum of the replicas that the owners want. None: the sum must be computed again."""


class Workloads:
    """All workloads, and the number of their live pods under each policy with a ratio."""

    def __init__(self) -> None:
        self._workloads: dict[str, Workload] = {}
        self._pods: dict[str, tuple[PolicyKey, str]] = {}
        self._members: dict[PolicyKey, _Members] = {}

    def get(self, uid: str) -> Workload | None:
        return self._workloads.get(uid)

    def put(self, workload: Workload) -> None:
        self._workloads[workload.uid] = workload
        self._changed()

    def drop(self, uid: str) -> None:
        self._workloads.pop(uid, None)
        self._changed()

    def uids(self, kind: str) -> set[str]:
        return {uid for uid, workload in self._workloads.items() if workload.kind == kind}

    def is_known(self, owner: str) -> bool:
        """Whether the workload is known. If it has an owner, the owner must be known too."""
        workload = self._workloads.get(owner)
        return workload is not None and (not workload.owner or workload.owner in self._workloads)

    def is_news(self, pod: str, policy: PolicyKey | None, owner: str) -> bool:
        """Whether `count_pod` would change anything."""
        return self._pods.get(pod) != ((policy, owner) if policy is not None else None)

    def policy_of(self, pod: str) -> PolicyKey | None:
        """The policy that the pod is counted under, or None."""
        membership = self._pods.get(pod)
        return membership[0] if membership is not None else None

    def count_pod(self, pod: str, policy: PolicyKey | None, owner: str) -> None:
        """Counts the live pod with this uid for `owner` under `policy`, a policy with a ratio.
        `policy` is None if the pod is no longer live or has no such policy."""
        membership = self._pods.pop(pod, None)
        if membership is not None:
            self._count(*membership, -1)
        if policy is not None:
            self._pods[pod] = (policy, owner)
            self._count(policy, owner, +1)

    def desired(self, policy: PolicyKey) -> int:
        """The replicas that the pods' owners want. Each owner counts once. A Deployment counts in
        place of the ReplicaSets that it owns. A pod without an owner counts as one replica."""
        members = self._members.get(policy)
        if members is None:
            return 0
        if members.wanted is None:
            roots: dict[str, int] = {}
            for uid in members.owners:
                owner = self._workloads.get(uid)
                if owner is not None:
                    root = self._workloads.get(owner.owner, owner)
                    roots[root.uid] = root.replicas
            members.wanted = sum(roots.values())
        return members.wanted + members.loose

    def _count(self, policy: PolicyKey, owner: str, change: int) -> None:
        members = self._members.setdefault(policy, _Members(Counter()))
        if not owner:
            members.loose += change
        else:
            before = members.owners[owner]
            members.owners[owner] += change
            if not members.owners[owner]:
                del members.owners[owner]
            if not (before and before + change):
                members.wanted = None
        if not members.owners and not members.loose:
            del self._members[policy]

    def _changed(self) -> None:
        for members in self._members.values():
            members.wanted = None
