"""Short ways to write what tests are about."""

from collections.abc import Iterable
from datetime import UTC, datetime
from math import inf
from random import Random
from typing import Any

from extender.decisions import DecisionLog
from spillover.api import ack, vke
from spillover.api.kubernetes import PodObject, Taint, Toleration
from spillover.controller.recorder import Recorder
from spillover.core.dialects import load
from spillover.core.model.nodes import Node
from spillover.core.model.pods import Pod
from spillover.core.model.policy import InvalidPolicy, Policy
from spillover.core.scheduler import Scheduler
from spillover.kube.session import ApiSession

PROVIDER = Taint("virtual-kubelet.io/provider", "alibabacloud", "NoSchedule")


def pod(uid: str = "pod", **fields: Any) -> Pod:
    defaults: dict[str, Any] = {
        "namespace": "ns",
        "name": uid,
        "version": 1,
        "labels": {"app": "app"},
        "annotations": {},
        "node": "",
        "finished": False,
        "terminating": False,
        "tolerations": (),
        "refusal": "",
        "slow_to_bind": False,
        "priority": 0,
        "created": "",
        "scheduler": "spillover-scheduler",
        "since": "",
        "requests": (),
        "owner": "",
        "nominated": "",
        "may_preempt": True,
        "started": False,
        "ready": False,
    }
    return Pod(uid=uid, **{**defaults, **fields})


def tolerating(key: str, uid: str = "pod") -> Pod:
    return pod(uid, tolerations=(Toleration(key, "Exists"),))


def node(name: str, taints: Iterable[Taint] = (), **labels: str) -> Node:
    return Node(name, labels, tuple(taints))


def virtual(name: str, *more: Taint) -> Node:
    return Node(name, {"type": "virtual-kubelet"}, (PROVIDER, *more))


def raw(name: str, spec: dict[str, Any], created: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "uid": name, "creationTimestamp": created}
    return {"metadata": metadata, "spec": spec}


def loaded(group: str, name: str, spec: dict[str, Any], **more: str) -> Policy:
    policy = load(raw(name, spec, **more), group)
    assert isinstance(policy, Policy), policy
    return policy


def ack_policy(*units: dict[str, Any], name: str = "policy", **spec: Any) -> Policy:
    return loaded(ack.GROUP, name, {"selector": {"app": "app"}, "units": list(units), **spec})


def vke_policy(*subsets: dict[str, Any], name: str = "policy", **spec: Any) -> Policy:
    return loaded(vke.GROUP, name, {"selector": {"app": "app"}, "subsets": list(subsets), **spec})


def ack_errors(spec: dict[str, Any]) -> list[str]:
    return _errors(ack.GROUP, spec)


def vke_errors(spec: dict[str, Any]) -> list[str]:
    return _errors(vke.GROUP, spec)


def _errors(group: str, spec: dict[str, Any]) -> list[str]:
    policy = load(raw("policy", spec), group)
    return [str(error) for error in policy.errors] if isinstance(policy, InvalidPolicy) else []


def leading(scheduler: Scheduler) -> Scheduler:
    """A cache in whose term pods may be placed."""
    scheduler.cluster.begin_term(1)
    scheduler.cluster.term.open_all_but(frozenset())
    return scheduler


def decision_log(session: ApiSession) -> DecisionLog:
    """One whose Events nobody writes."""
    recorder = Recorder(session, lambda _: None, lambda: 0.0, lambda: datetime.now(UTC), Random(1))
    return DecisionLog(recorder, lambda: 0.0)


class NoElection:
    """Of an extender that always leads: no lease runs out, and nobody is held."""

    def may_bind_until(self) -> float:
        return inf

    async def of_pod(self, pod: PodObject, seconds: float) -> None: ...

    async def of_known(self, uid: str, seconds: float) -> None: ...
