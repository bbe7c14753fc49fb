"""How KubeAdmiral divides replicas among clusters: a model for the tests, pure.

The model is checked against the objects that a real KubeAdmiral wrote (`test_recorded.py`).
Source of the rules: github.com/kubewharf/kubeadmiral at 19de01c, controllers `scheduler` and
`automigration`, and the measurements in `shared/federation/kubeadmiral.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Counts = Mapping[str, int]
"""Replicas by cluster."""


@dataclass(frozen=True)
class Preference:
    """What a PropagationPolicy says of one cluster."""

    weight: int = 0
    priority: int = 0
    min: int = 0
    max: int | None = None


@dataclass(frozen=True)
class Policy:
    """What the planner reads of a PropagationPolicy."""

    preferences: Mapping[str, Preference]
    """By cluster, in the policy's order."""
    packs: bool = False
    """The strategy Binpack: one cluster after the other, by priority. Else Spread, by weight."""
    avoid_disruption: bool = False
    keep_unschedulable: bool = False
    threshold: float | None = None
    """Seconds until an unschedulable pod counts (`podUnschedulableFor`). None: no migration."""


@dataclass(frozen=True)
class Situation:
    """What the planner reads of a FederatedObject."""

    wanted: int
    """Replicas of the template."""
    current: Counts
    """The placement so far. Empty before the first."""
    estimated: Counts = field(default_factory=dict)
    """`estimatedCapacity`: where pods are unschedulable for too long."""
    scheduled: Counts = field(default_factory=dict)
    """`scheduledReplicas`."""
    limited: Counts = field(default_factory=dict)
    """`limitedCapacity` of the migration configuration."""


def policy_of(spec: Mapping[str, Any]) -> Policy:
    """From the spec of a PropagationPolicy as the API server stores it."""
    migration = spec.get("autoMigration")
    rescheduling = spec.get("reschedulePolicy", {}).get("replicaRescheduling") or {}
    return Policy(
        {
            each["cluster"]: Preference(
                weight=each.get("preferences", {}).get("weight", 0),
                priority=each.get("preferences", {}).get("priority", 0),
                min=each.get("preferences", {}).get("minReplicas", 0),
                max=each.get("preferences", {}).get("maxReplicas"),
            )
            for each in spec["placement"]
        },
        packs=spec.get("replicasStrategy") == "Binpack",
        avoid_disruption=rescheduling.get("avoidDisruption", False),
        keep_unschedulable=bool(migration and migration.get("keepUnschedulableReplicas")),
        threshold=_seconds(migration["when"]["podUnschedulableFor"]) if migration else None,
    )


def _seconds(duration: str) -> float:
    """Of a duration such as 2m0s."""
    found, number = 0.0, ""
    for character in duration:
        if character in "hms":
            found += float(number) * {"h": 3600, "m": 60, "s": 1}[character]
            number = ""
        else:
            number += character
    return found


def planned(policy: Policy, key: str, now: Situation) -> dict[str, int]:
    """The replicas of each cluster that gets some. `key` is namespace/name of the workload."""
    plan = _packed(policy, now) if policy.packs else _spread(policy, key, now)
    return {cluster: replicas for cluster, replicas in plan.items() if replicas}


# --- Spread ---------------------------------------------------------------------------------------


def _spread(policy: Policy, key: str, now: Situation) -> dict[str, int]:
    # Without avoidDisruption, unschedulable replicas are always kept.
    keeps = policy.keep_unschedulable or not policy.avoid_disruption
    order = _by_weight(policy.preferences, key)
    wanted, overflow = _shares(order, now.wanted, now)
    if not keeps:
        missing = now.wanted - sum(wanted.values())
        overflow = {cluster: min(extra, missing) for cluster, extra in overflow.items()}
    if policy.avoid_disruption:
        wanted = _moved_least(policy, key, now, wanted)
    return _added(wanted, overflow)


def _by_weight(preferences: Mapping[str, Preference], key: str) -> list[tuple[str, Preference]]:
    """The largest weight first; the same weights by a hash, so that no name is preferred."""
    return sorted(preferences.items(), key=lambda each: (-each[1].weight, _fnv(each[0] + key)))


def _fnv(text: str) -> int:
    found = 2166136261
    for byte in text.encode():
        found = (found * 16777619) % 2**32 ^ byte
    return found


def _shares(
    order: Sequence[tuple[str, Preference]], total: int, now: Situation
) -> tuple[dict[str, int], dict[str, int]]:
    """The minimum for each cluster, then the rest by weight, rounded up, until nothing is left or
    every cluster is full. Also what each cluster would get beyond its estimated capacity."""
    plan, overflow = _minima(order, total, now)
    left = total - sum(plan.values())
    still = list(order)
    while left > 0 and still and sum(each.weight for _, each in still) > 0:
        weights, share, given = sum(each.weight for _, each in still), left, False
        following = []
        for cluster, preference in still:
            extra = min(-(-share * preference.weight // weights), left)
            total_here = plan[cluster] + extra
            bounds = [
                each for each in (preference.max, now.limited.get(cluster)) if each is not None
            ]
            fits = min([total_here, *bounds])
            capacity = now.estimated.get(cluster, fits)
            if fits > capacity:
                overflow[cluster] = overflow.get(cluster, 0) + fits - capacity
                fits = capacity
            if fits == total_here:
                following.append((cluster, preference))
            given = given or fits > plan[cluster]
            left -= fits - plan[cluster]
            plan[cluster] = fits
        still = following
        if not given:
            break
    return plan, overflow


def _minima(
    order: Sequence[tuple[str, Preference]], total: int, now: Situation
) -> tuple[dict[str, int], dict[str, int]]:
    """The minimum for each cluster, as far as the replicas and the capacities go."""
    plan: dict[str, int] = {}
    overflow: dict[str, int] = {}
    left = total
    for cluster, preference in order:
        least = min(preference.min, left, now.limited.get(cluster, left))
        fits = min(least, now.estimated.get(cluster, least))
        if fits < least:
            overflow[cluster] = least - fits
        plan[cluster] = fits
        left -= fits
    return plan, overflow


def _moved_least(
    policy: Policy, key: str, now: Situation, wanted: Mapping[str, int]
) -> dict[str, int]:
    """From the present placement: adds only where `wanted` has more, takes only where it has
    less."""
    fine = {cluster: _fine(cluster, now) for cluster in policy.preferences}
    missing = sum(wanted.values()) - sum(fine.values())
    if not missing:
        return fine
    sign = 1 if missing > 0 else -1
    gaps: dict[str, Preference] = {}
    for cluster in wanted:
        gap = sign * (wanted[cluster] - fine[cluster])
        if gap > 0:
            most = policy.preferences[cluster].max
            room = (
                (most - fine[cluster] if most is not None else None) if sign > 0 else fine[cluster]
            )
            gaps[cluster] = Preference(weight=gap, max=room)
    moved, _ = _shares(_by_weight(gaps, key), abs(missing), replace(now, estimated={}, limited={}))
    return {cluster: there + sign * moved.get(cluster, 0) for cluster, there in fine.items()}


def _fine(cluster: str, now: Situation) -> int:
    """The replicas that the cluster has and can hold."""
    there = now.current.get(cluster, 0)
    return min(there, now.limited.get(cluster, there), now.estimated.get(cluster, there))


# --- Binpack --------------------------------------------------------------------------------------


def _packed(policy: Policy, now: Situation) -> dict[str, int]:
    keeps = policy.keep_unschedulable or not policy.avoid_disruption
    order = sorted(policy.preferences.items(), key=lambda each: -each[1].priority)
    if _is_frozen(policy, now):
        return dict(now.current)
    wanted, overflow = _filled(order, now.wanted, now)
    scheduled = {
        cluster: min(now.scheduled[cluster], now.limited.get(cluster, now.scheduled[cluster]))
        for cluster in policy.preferences
        if cluster in now.scheduled
    }
    if not keeps and sum(scheduled.values()) == now.wanted:
        return dict(now.scheduled)
    if policy.avoid_disruption:
        wanted = _packed_least(policy, order, now, wanted)
        if not keeps:
            missing = now.wanted - sum(scheduled.values())
            overflow = {cluster: min(extra, missing) for cluster, extra in overflow.items()}
    return _added(wanted, overflow)


def _is_frozen(policy: Policy, now: Situation) -> bool:
    """While the state of some replicas is not known yet, nothing is planned anew."""
    if any(cluster not in policy.preferences for cluster in now.current):
        return False
    if any(now.limited.get(each, there) < there for each, there in now.current.items()):
        return False
    return any(
        scheduled != now.estimated.get(cluster, now.current.get(cluster, 0))
        for cluster, scheduled in now.scheduled.items()
    )


def _filled(
    order: Sequence[tuple[str, Preference]], total: int, now: Situation
) -> tuple[dict[str, int], dict[str, int]]:
    plan, overflow = _minima(order, total, now)
    left = total - sum(plan.values())
    for cluster, preference in order:
        most = plan[cluster] + left
        bounds = [each for each in (preference.max, now.limited.get(cluster)) if each is not None]
        fits = min([most, *bounds])
        capacity = now.estimated.get(cluster, fits)
        if fits > capacity:
            overflow[cluster] = max(fits - capacity, overflow.get(cluster, 0))
            fits = capacity
        left -= fits - plan[cluster]
        plan[cluster] = fits
    return plan, overflow


def _packed_least(
    policy: Policy,
    order: Sequence[tuple[str, Preference]],
    now: Situation,
    wanted: Mapping[str, int],
) -> dict[str, int]:
    fine = {cluster: _fine(cluster, now) for cluster in policy.preferences}
    missing = sum(wanted.values()) - sum(fine.values())
    if not missing:
        return fine
    known = replace(now, estimated={})
    if missing > 0:
        gaps = [
            (cluster, replace(each, max=None if each.max is None else each.max - fine[cluster]))
            for cluster, each in order
            if wanted[cluster] > fine[cluster]
        ]
        more, _ = _filled(gaps, now.wanted - sum(fine.values()), known)
        return {cluster: there + more.get(cluster, 0) for cluster, there in fine.items()}
    surplus = [
        (cluster, Preference(max=fine[cluster]))
        for cluster, _ in reversed(order)
        if wanted[cluster] < fine[cluster]
    ]
    less, _ = _filled(surplus, sum(fine.values()) - now.wanted, replace(known, limited={}))
    return {cluster: there - less.get(cluster, 0) for cluster, there in fine.items()}


def _added(plan: Mapping[str, int], overflow: Mapping[str, int]) -> dict[str, int]:
    return {
        cluster: plan.get(cluster, 0) + max(0, overflow.get(cluster, 0))
        for cluster in {**plan, **overflow}
    }
