"""How many replicas the owners of a policy's pods want, for `maxReplicasRatio`."""

from collections import Counter
from dataclasses import dataclass

from spillover.api.kubernetes import WorkloadObject
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


def workload_from_wire(wire: WorkloadObject, kind: str) -> Workload:
    metadata = wire.metadata
    return Workload(
        kind=kind,
        uid=metadata.uid,
        namespace=metadata.namespace,
        replicas=wire.spec.replicas if wire.spec.replicas is not None else 1,
        owner=next((ref.uid for ref in metadata.owner_references or () if ref.controller), ""),
    )


class Workloads:
    """All workloads, and how many live pods of each a policy with a ratio has."""

    def __init__(self) -> None:
        self._workloads: dict[str, Workload] = {}
        self._pods: dict[str, tuple[PolicyKey, str]] = {}
        self._owners: dict[PolicyKey, Counter[str]] = {}

    def get(self, uid: str) -> Workload | None:
        return self._workloads.get(uid)

    def put(self, workload: Workload) -> None:
        self._workloads[workload.uid] = workload

    def drop(self, uid: str) -> None:
        self._workloads.pop(uid, None)

    def uids(self, kind: str) -> set[str]:
        return {uid for uid, workload in self._workloads.items() if workload.kind == kind}

    def is_news(self, pod: str, policy: PolicyKey | None, owner: str) -> bool:
        """Whether `count_pod` would change anything."""
        return self._pods.get(pod) != ((policy, owner) if policy is not None else None)

    def count_pod(self, pod: str, policy: PolicyKey | None, owner: str) -> None:
        """The live pod of this uid is under `policy`, if that has a ratio, and belongs to `owner`.
        None: it is no more, or under no such policy."""
        membership = self._pods.pop(pod, None)
        if membership is not None:
            owners = self._owners[membership[0]]
            owners[membership[1]] -= 1
            if not owners[membership[1]]:
                del owners[membership[1]]
            if not owners:
                del self._owners[membership[0]]
        if policy is not None:
            self._pods[pod] = (policy, owner)
            self._owners.setdefault(policy, Counter())[owner] += 1

    def desired(self, policy: PolicyKey) -> int:
        """The replicas that the pods' owners want, each owner once; a pod without such counts for
        itself. A ReplicaSet's owner, where it is a Deployment, stands for it."""
        roots: dict[str, int] = {}
        loose = 0
        for uid, pods in self._owners.get(policy, Counter()).items():
            owner = self._workloads.get(uid)
            if owner is None:
                loose += pods
                continue
            root = self._workloads.get(owner.owner, owner)
            roots[root.uid] = root.replicas
        return sum(roots.values()) + loose
