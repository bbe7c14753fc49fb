"""One run: a policy of three limited units, pods that churn, faults, and the judgment."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from faults.api import Api, ApiFailureError
from faults.churn import LOAD, Churn, scale
from faults.ground import REPLICAS, Ground
from faults.hostile import HostileChurn, remove_unplaceable
from faults.injections import strike
from faults.plan import Action, Plan
from harness import scenes
from harness.waiting import until
from harness.watch import is_live, node_of

Object = dict[str, Any]

LIMITS = {"virtual": 3, "prepaid": 4, "postpaid": 3}
_CALM_SECONDS = 90.0
"""For the leftovers to go: a reservation that nobody uses lives for 60 s."""


class OvershootError(Exception):
    """A unit had more live pods than its maximum."""


def overshoot(highest: dict[str, int]) -> int:
    return max(max(0, highest.get(unit, 0) - most) for unit, most in LIMITS.items())


@dataclass(frozen=True, slots=True)
class Outcome:
    """`highest` is the most live pods seen in each unit at any moment; `recovery` is in seconds
    from the end of the faults until every pod that fits was bound; `changes` are those of each
    churn that the API server took."""

    plan: Plan
    highest: dict[str, int]
    moved: list[str]
    events: int
    recovery: float
    changes: list[int]


def run(
    ground: Ground,
    plan: Plan,
    recover_seconds: float,
    pace: float,
    *,
    deployment: Callable[[str], Object],
    hostile: bool = False,
) -> Outcome:
    """`pace` is Churn's; `deployment` makes the load, named `load`, of a namespace. `hostile`: with
    pods of somebody who means harm beside. Raises OvershootError, and TimeoutError when pods that
    fit are not bound in time or reservations are left over."""
    namespace = f"faults-{plan.seed}-{time.time_ns() % 1_000_000}"
    prepare(ground, namespace, deployment(namespace))
    try:
        kinds = (Churn, HostileChurn) if hostile else (Churn,)
        churns = [kind(ground.api, namespace, plan.seed, pace) for kind in kinds]
        with ExitStack() as stack:
            for churn in churns:
                stack.enter_context(churn)
            _strike_all(ground, plan.actions)
        insist(partial(remove_unplaceable, ground.api, namespace))
        chance = Random(plan.seed)
        insist(lambda: scale(ground.api, namespace, chance.randint(0, 16)))
        count = chance.randint(4, 14)
        for number in range(count):
            body = scenes.pod(namespace, f"last-{number}", "spillover-scheduler", labels=LOAD)
            insist(partial(create, ground.api, body))
        try:
            recovery = until(
                lambda: settled(ground.api, namespace, count), recover_seconds, f"bound: {plan}"
            )
            until(lambda: nothing_left(ground), _CALM_SECONDS, f"no reservation left: {plan}")
        except TimeoutError as late:
            found = ground.judge.report(namespace)
            if overshoot(found["highest"]):
                raise OvershootError(f"{plan}: {found}") from late
            raise
        until(lambda: _judge_knows(ground, namespace), 30, "the judge is up to date")
        found = ground.judge.report(namespace)
    finally:
        ground.proxy.requests.clear()
        clear(ground, namespace)
    if overshoot(found["highest"]):
        raise OvershootError(f"{plan}: {found}")
    changes = [churn.changes for churn in churns]
    return Outcome(plan, found["highest"], found["moved"], found["events"], recovery, changes)


def prepare(ground: Ground, namespace: str, load: Object) -> None:
    ground.cluster.kubectl("create", "namespace", namespace)
    ground.cluster.kubectl("wait", "--for=create", "sa/default", "-n", namespace, "--timeout=60s")
    units = [
        {"resource": "eci", "max": LIMITS["virtual"]},
        {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": LIMITS["prepaid"]},
        {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}, "max": LIMITS["postpaid"]},
    ]
    policy = scenes.policy(scenes.ACK, namespace, "load", selector={"app": "load"}, units=units)
    ground.cluster.create(policy, load)


def clear(ground: Ground, namespace: str) -> None:
    ground.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    ground.cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--force", "--wait=false")


def _strike_all(ground: Ground, actions: tuple[Action, ...]) -> None:
    """Returns when the last fault is healed. Raises what one of them could not do."""
    failures: list[BaseException] = []
    begun = time.monotonic()

    def act(action: Action) -> None:
        time.sleep(max(0.0, begun + action.at - time.monotonic()))
        leader = ground.leader()
        replica = leader if action.leader else (leader + 1) % REPLICAS
        try:
            strike(ground, action.fault, replica, action.lasts)
        except BaseException as failure:  # noqa: BLE001 - told to whoever waits for the thread
            failures.append(failure)

    threads = [threading.Thread(target=act, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=180)
    if failures:
        raise failures[0]


def create(api: Api, pod: Object) -> None:
    """Unless it is there already: an answer may have been lost."""
    try:
        api.request("POST", f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods", pod)
    except ApiFailureError as failure:
        if failure.status != 409:
            raise


def settled(api: Api, namespace: str, last: int) -> bool:
    """The pods that were made last are there, and of all pods as many as fit are on nodes. How many
    pods the Deployment has is not ours: around a restart of the API server the ReplicaSet
    controller may wait for five minutes before it makes any."""
    try:
        pods = [pod for pod in api.pods(namespace) if is_live(pod)]
    except ApiFailureError:
        return False
    made = sum(1 for pod in pods if pod["metadata"]["name"].startswith("last-"))
    bound = sum(1 for pod in pods if node_of(pod))
    return made == last and bound == min(len(pods), sum(LIMITS.values()))


def nothing_left(ground: Ground) -> bool:
    """No replica has a reservation, a binding under way or a pod in doubt, and one leads."""
    names = ("spillover_reservations", "spillover_bindings_in_flight", "spillover_doubted_pods")
    left = [ground.metric(replica, name) for replica in range(REPLICAS) for name in names]
    leading = [ground.metric(replica, "spillover_epoch") for replica in range(REPLICAS)]
    return all(value == 0 for value in left) and sum(1 for epoch in leading if epoch) == 1


def _judge_knows(ground: Ground, namespace: str) -> bool:
    try:
        pods = ground.api.pods(namespace)
    except ApiFailureError:
        return False
    bound = Counter(node_of(pod) for pod in pods if is_live(pod) and node_of(pod))
    told: dict[str, int] = ground.judge.report(namespace)["now"]
    return sum(bound.values()) == sum(told.values())


def insist(act: Callable[[], object], seconds: float = 60.0) -> None:
    """Until the API server takes it."""

    def done() -> bool:
        try:
            act()
        except ApiFailureError:
            return False
        return True

    until(done, seconds, "the API server takes a request")
