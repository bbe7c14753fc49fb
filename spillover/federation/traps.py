"""The traps of a KubeAdmiral fleet: what is wrong, what happens, and what to change. Pure.

Each trap was met in runs of the real engine, or follows from its rules. `docs/federation.md` tells
more about each.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from spillover.federation.kubeadmiral import MIGRATION, OVERRIDE_LABEL, POLICY_LABEL, Propagation

Object = Mapping[str, Any]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_OLD_AUTOSCALING = ("autoscaling/v2beta1", "autoscaling/v2beta2")


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap that the fleet is in."""

    trap: str
    """A name that does not change, such as `override-without-parent`."""
    where: str
    """The object, as kind namespace/name, or the member."""
    happens: str
    change: str
    """YAML of the change, or a sentence where there is no YAML."""


@dataclass(frozen=True, slots=True)
class Member:
    """What is known about Spillover in one member."""

    name: str
    installed: bool
    """Whether the API server has ResourcePolicies of a vendor."""
    trouble: str = ""
    """Why Spillover does not place pods there, or ""."""
    capacities: Mapping[str, int] = field(default_factory=dict)
    """Of each workload, as namespace/name: the replicas that the member can hold, where that number
    is fixed."""
    unread: tuple[str, ...] = ()
    """What is declared in the member and cannot be read, with the reason."""
    boot_seconds: float | None = None
    """The longest time that a node took from its creation until it was ready."""


@dataclass(frozen=True, slots=True)
class Hub:
    """The objects of the hub that a check reads."""

    workloads: Sequence[Object]
    policies: Sequence[Propagation]
    overrides: Sequence[Object]
    autoscalers: Sequence[Object] = ()
    """HorizontalPodAutoscalers as they are written: the API server does not store old versions."""


def findings(hub: Hub, members: Sequence[Member], boot_seconds: float) -> list[Finding]:
    """`boot_seconds` is how long a new node takes to be ready, where no member tells more."""
    policies = {f"{each.namespace}/{each.name}": each for each in hub.policies}
    overrides = {_key(each): each for each in hub.overrides}
    found: list[Finding] = [*_old_autoscalers(hub.autoscalers), *_members(members)]
    slowest = max([boot_seconds, *(each.boot_seconds or 0.0 for each in members)])
    used: dict[str, Propagation] = {}
    limited: set[str] = set()
    for workload in hub.workloads:
        labels, namespace = workload["metadata"].get("labels") or {}, _namespace(workload)
        override = overrides.get(f"{namespace}/{labels.get(OVERRIDE_LABEL)}")
        if override is not None:
            found += _orphans(workload, override)
        key = f"{namespace}/{labels.get(POLICY_LABEL)}"
        if (policy := policies.get(key)) is not None:
            used[key] = policy
            if MIGRATION in (workload["metadata"].get("annotations") or {}):
                limited.add(key)
            found += _too_few(workload, policy)
            found += _fixed(workload, policy, members)
    for key, policy in used.items():
        found += _of_policy(policy, slowest, is_limited=key in limited)
    return found


def seconds_of(duration: str) -> float | None:
    """Of a duration as Go writes it, such as 2m0s. None if it is not one."""
    parts = _DURATION.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _orphans(workload: Object, override: Object) -> Iterator[Finding]:
    """Patches whose parent the template does not have. Lists are not looked into: what a patch
    needs there cannot be told."""
    for patch in _patches(override):
        if patch.get("operator", "replace") != "add":
            continue
        *parents, last = _parts(str(patch.get("path", "")))
        there: Any = workload
        for index, part in enumerate(parents):
            there = there.get(part) if isinstance(there, Mapping) else None
            if isinstance(there, list):
                break
            if there:
                continue
            yield Finding(
                "override-without-parent",
                f"Deployment {_key(workload)}",
                f"OverridePolicy {_key(override)} adds {last} to {'.'.join(parents)}, which the"
                " template does not have. KubeAdmiral propagates nothing of this workload to any"
                " member. An empty map does not help: the API server drops it.",
                _nested(parents[: index + 1], parents[index + 1 :], {"placeholder": "1"}),
            )
            return


def _nested(before: Sequence[str], after: Sequence[str], content: object) -> str:
    found: object = content
    for part in reversed([*before, *after]):
        found = {part: found}
    return str(yaml.safe_dump(found, sort_keys=False))


def _old_autoscalers(autoscalers: Iterable[Object]) -> Iterator[Finding]:
    for each in autoscalers:
        if each.get("apiVersion") in _OLD_AUTOSCALING:
            yield Finding(
                "old-autoscaling-version",
                f"HorizontalPodAutoscaler {_key(each)}",
                f"The API server no longer serves {each['apiVersion']} (removed in Kubernetes 1.26)"
                " and refuses the object. The same body is valid in autoscaling/v2.",
                "apiVersion: autoscaling/v2\n",
            )


def _members(members: Iterable[Member]) -> Iterator[Finding]:
    for each in members:
        if not each.installed:
            yield Finding(
                "member-without-spillover",
                f"member {each.name}",
                "The member has no ResourcePolicies. Its pods fill nodes without an order, and no"
                " maximum holds.",
                "Install Spillover in this member: kubectl apply -k manifests/base",
            )
        for remark in each.unread:
            yield Finding(
                "size-not-read",
                f"member {each.name}",
                f"{remark}. The member counts as one that may grow without a limit.",
                "Write UNIT=PODS or UNIT=unlimited, separated by commas.",
            )
        if each.installed and each.trouble:
            yield Finding(
                "member-does-not-place",
                f"member {each.name}",
                f"{each.trouble}. Its new pods wait with the reason SchedulerError or without one:"
                " KubeAdmiral does not move them, and may place more pods there.",
                "Look at the scheduler of this member: kubectl -n spillover-system get pods",
            )


def _too_few(workload: Object, policy: Propagation) -> Iterator[Finding]:
    replicas = workload["spec"].get("replicas") or 0
    most = [each.max_replicas for each in policy.placements]
    total = sum(each for each in most if each is not None)
    if policy.divides and most and None not in most and total < replicas:
        yield Finding(
            "placements-below-replicas",
            f"Deployment {_key(workload)}",
            f"{replicas} replicas are wanted, and PropagationPolicy"
            f" {policy.namespace}/{policy.name} lets {total} in."
            f" {replicas - total} replicas are not created anywhere. No pod and no event shows it.",
            f"spec:\n  placement:\n  - cluster: {policy.order[-1]}\n    preferences: {{}}"
            "  # no maxReplicas\n",
        )


def _fixed(workload: Object, policy: Propagation, members: Iterable[Member]) -> Iterator[Finding]:
    most = {each.cluster: each.max_replicas for each in policy.placements}
    for member in members:
        capacity = member.capacities.get(_key(workload))
        if capacity is not None and member.name in most and most[member.name] is None:
            yield Finding(
                "fixed-capacity-without-maximum",
                f"PropagationPolicy {policy.namespace}/{policy.name}",
                f"{member.name} can hold {capacity} replicas of {_key(workload)} and no more."
                " KubeAdmiral places more there, waits for podUnschedulableFor, and then runs"
                " copies elsewhere.",
                f"spec:\n  placement:\n  - cluster: {member.name}\n    preferences:\n"
                f"      maxReplicas: {capacity}\n",
            )


def _of_policy(policy: Propagation, boot_seconds: float, *, is_limited: bool) -> Iterator[Finding]:
    where = f"PropagationPolicy {policy.namespace}/{policy.name}"
    threshold = seconds_of(policy.threshold) if policy.threshold else None
    if threshold is not None and threshold < boot_seconds:
        yield Finding(
            "threshold-below-node-boot",
            where,
            f"podUnschedulableFor is {policy.threshold}, and a new node takes up to"
            f" {boot_seconds:.0f} s. Pods wait for nodes that are starting. KubeAdmiral starts"
            " copies of these pods in other members, and nodes are bought for the copies.",
            "spec:\n  autoMigration:\n    when:\n"
            f"      podUnschedulableFor: {int(boot_seconds * 1.5)}s\n",
        )
    if policy.threshold and not policy.keeps_unschedulable and policy.avoids_disruption:
        yield Finding(
            "replicas-flap",
            where,
            "keepUnschedulableReplicas is false and avoidDisruption is true. Replicas can move"
            " from member to member and back for ever, even if another member has free nodes.",
            "spec:\n  autoMigration:\n    keepUnschedulableReplicas: true\n"
            "  reschedulePolicy:\n    replicaRescheduling:\n      avoidDisruption: false\n",
        )
    if policy.packs and policy.threshold and not is_limited:
        yield Finding(
            "binpack-freezes",
            where,
            "With Binpack, KubeAdmiral ignores a change of the replicas while unschedulable pods"
            f" are younger than {policy.threshold}: a scale-in does nothing for so long.",
            "Run the agent in mode limit: no pod is then unschedulable. Or set maxReplicas for"
            " members whose capacity is fixed.",
        )


def _patches(override: Object) -> Iterator[Object]:
    for rule in override.get("spec", {}).get("overrideRules") or ():
        yield from rule.get("overriders", {}).get("jsonpatch") or ()


def _parts(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _namespace(found: Object) -> str:
    return str(found["metadata"].get("namespace") or "default")


def _key(found: Object) -> str:
    return f"{_namespace(found)}/{found['metadata']['name']}"
