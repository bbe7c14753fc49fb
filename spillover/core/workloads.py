"""How many replicas the owners of a policy's pods want, for `maxReplicasRatio`."""

from collections import Counter
from dataclasses import dataclass

from spillover.api.kubernetes import ObjectMeta, WorkloadObject
from spillover.core.policy import PolicyKey

WORKLOAD_KINDS = ("deployments", "replicasets", "statefulsets")
"""Of apps/v1: those that have replicas which maxReplicasRatio is a part of."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload of some `kind`, such as deployments. `owner` is the uid of its own controller, or
    ""."""

    kind: str
    uid: str
    namespace: str
    replicas: int
    owner: str


_WITH_REPLICAS = frozenset({"Deployment", "ReplicaSet", "StatefulSet"})


def owner_of(metadata: ObjectMeta) -> str:
    """The uid of the controller of an object, if that is a workload with replicas, else ""."""
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


def workload_from_wire(wire: WorkloadObject, kind: str) -> Workload:
    metadata = wire.metadata
    return Workload(
        kind=kind,
        uid=metadata.uid,
        namespace=metadata.namespace,
        replicas=wire.spec.replicas if wire.spec.replicas is not None else 1,
        owner=owner_of(metadata),
    )


@dataclass(slots=True)
class _Members:
    """The live pods of one policy with a ratio: by owner, and those without. `wanted` is what the
    owners want, None while it is to be summed up anew."""

    owners: Counter[str]
    loose: int = 0
    wanted: int | None = 0


class Workloads:
    """All workloads, and how many live pods of each a policy with a ratio has."""

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
        """Whether a workload is known, and its own owner if it has one."""
        workload = self._workloads.get(owner)
        return workload is not None and (not workload.owner or workload.owner in self._workloads)

    def is_news(self, pod: str, policy: PolicyKey | None, owner: str) -> bool:
        """Whether `count_pod` would change anything."""
        return self._pods.get(pod) != ((policy, owner) if policy is not None else None)

    def policy_of(self, pod: str) -> PolicyKey | None:
        """Under which policy the pod is counted."""
        membership = self._pods.get(pod)
        return membership[0] if membership is not None else None

    def count_pod(self, pod: str, policy: PolicyKey | None, owner: str) -> None:
        """The live pod of this uid is under `policy`, if that has a ratio, and belongs to `owner`.
        None: it is no more, or under no such policy."""
        membership = self._pods.pop(pod, None)
        if membership is not None:
            self._count(*membership, -1)
        if policy is not None:
            self._pods[pod] = (policy, owner)
            self._count(policy, owner, +1)

    def desired(self, policy: PolicyKey) -> int:
        """The replicas that the pods' owners want, each owner once; a pod without such counts for
        itself. A ReplicaSet's owner, where it is a Deployment, stands for it."""
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
