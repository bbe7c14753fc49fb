"""The faults: each is begun, and healed by the end of its block."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

from faults.api import ApiFailureError
from faults.ground import LEASE_PATH, REPLICAS, Ground
from harness import processes
from harness.containers import Container
from harness.proxy import Fate, Lag, Request, Silence, Treatment
from harness.waiting import until

_POLICY = "spillover-test-refuse-sweep"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_READY_SECONDS = 60.0
_LAG_SECONDS = 1.0

Fault = Callable[[Ground, int], AbstractContextManager[None]]
"""Of a replica. The block is as long as the fault lasts."""


def _pid(container: Container) -> int | None:
    """None between two lives."""
    try:
        pid = container.pid()
    except OSError:
        return None
    return pid if processes.is_alive(pid) else None


def _signal(pid: int | None, number: Signals) -> None:
    if pid is not None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def _pod(ground: Ground, replica: int) -> tuple[Container, ...]:
    return (ground.scheduler(replica), ground.extender(replica))


def _only(which: int) -> Callable[[Ground, int], tuple[Container, ...]]:
    return lambda ground, replica: (_pod(ground, replica)[which],)


@contextmanager
def _ended(
    ground: Ground,
    replica: int,
    of: Callable[[Ground, int], tuple[Container, ...]],
    number: Signals,
) -> Iterator[None]:
    """The kubelet's stand-in starts them again."""
    for container in of(ground, replica):
        _signal(_pid(container), number)
    yield


@contextmanager
def _paused(
    ground: Ground, replica: int, of: Callable[[Ground, int], tuple[Container, ...]]
) -> Iterator[None]:
    pids = [_pid(container) for container in of(ground, replica)]
    for pid in pids:
        _signal(pid, SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, SIGCONT)


def _try(act: Callable[[], object]) -> None:
    """A fault that another fault prevents is none."""
    try:
        act()
    except ApiFailureError:
        return


@contextmanager
def _lease_deleted(ground: Ground, replica: int) -> Iterator[None]:  # noqa: ARG001 - a Fault
    _try(lambda: ground.api.request("DELETE", LEASE_PATH))
    yield


def _take_lease(ground: Ground, holder: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": holder, "acquireTime": now, "renewTime": now}
    _try(lambda: ground.api.merge(LEASE_PATH, {"spec": spec}))


@contextmanager
def _lease_stolen(ground: Ground, replica: int) -> Iterator[None]:  # noqa: ARG001 - a Fault
    """By somebody who has no scheduler."""
    _take_lease(ground, f"thief_{uuid.uuid4()}")
    yield


@contextmanager
def _lease_given_away(ground: Ground, replica: int) -> Iterator[None]:
    """To the other replica, whose scheduler does not know that it leads: its extender does."""
    host = ground.hosts()[(replica + 1) % REPLICAS]
    _take_lease(ground, f"{host}_{uuid.uuid4()}")
    yield


@contextmanager
def _api_server_restarted(ground: Ground, replica: int) -> Iterator[None]:  # noqa: ARG001 - a Fault
    ground.cluster.restart("kube-apiserver")
    until(lambda: _is_up(ground), _READY_SECONDS, "the API server is up")
    yield


def _is_up(ground: Ground) -> bool:
    try:
        ground.api.request("GET", "/api/v1/namespaces/default")
    except ApiFailureError:
        return False
    return True


@contextmanager
def _etcd_paused(ground: Ground, replica: int) -> Iterator[None]:  # noqa: ARG001 - a Fault
    (etcd,) = ground.cluster.processes_of("etcd")
    _signal(etcd, SIGSTOP)
    try:
        yield
    finally:
        _signal(etcd, SIGCONT)


@contextmanager
def _cut(ground: Ground, replica: int) -> Iterator[None]:  # noqa: ARG001 - a Fault
    with ground.fates.meeting(lambda _: Fate.LOSE_REQUEST):
        ground.proxy.in_loop(ground.proxy.break_all)
        yield


@contextmanager
def _lagging(ground: Ground, replica: int) -> Iterator[None]:  # noqa: ARG001 - a Fault
    try:
        with ground.fates.meeting(lambda request: Lag(_LAG_SECONDS) if request.is_watch else None):
            ground.proxy.in_loop(ground.proxy.break_all)
            yield
    finally:
        ground.proxy.in_loop(ground.proxy.break_all)  # the slow watches would stay


def _bindings(request: Request, treatment: Treatment) -> Treatment | None:
    return treatment if request.path.endswith("/binding") else None


@contextmanager
def _answers(ground: Ground, replica: int, treatment: Treatment) -> Iterator[None]:  # noqa: ARG001 - a Fault
    with ground.fates.meeting(partial(_bindings, treatment=treatment)):
        yield


@contextmanager
def _bindings_delayed(ground: Ground, replica: int) -> Iterator[None]:  # noqa: ARG001 - a Fault
    """They arrive when the fault ends, the last one first. Whoever sent them is left waiting."""
    try:
        with ground.fates.meeting(partial(_bindings, treatment=Fate.HOLD)):
            yield
    finally:
        ground.proxy.release_from_outside()


def refusal_policy() -> dict[str, object]:
    """Refuses patches of the epoch, while a binding of this policy exists."""
    key = "'spillover.dev/epoch'"
    new = f"object.metadata.?annotations[?{key}].orValue('')"
    old = f"oldObject.metadata.?annotations[?{key}].orValue('')"
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": _POLICY},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["pods"],
                    }
                ]
            },
            "validations": [{"expression": f"{new} == {old}", "message": "no sweeping here"}],
        },
    }


@contextmanager
def _sweep_refused(ground: Ground, replica: int) -> Iterator[None]:
    """And the extender is killed, so that there is a sweep."""
    path = f"{_ADMISSION}/validatingadmissionpolicybindings"
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": _POLICY},
        "spec": {"policyName": _POLICY, "validationActions": ["Deny"]},
    }
    _try(lambda: ground.api.request("POST", path, body))
    try:
        _signal(_pid(ground.extender(replica)), SIGKILL)
        yield
    finally:
        _delete(ground, f"{path}/{_POLICY}")


def _delete(ground: Ground, path: str) -> None:
    """However long the API server is away."""

    def is_gone() -> bool:
        try:
            ground.api.request("DELETE", path)
        except ApiFailureError as failure:
            return failure.status == 404
        return False

    until(is_gone, _READY_SECONDS, f"{path} is deleted")


FAULTS: dict[str, Fault] = {
    "kill-extender": partial(_ended, of=_only(1), number=SIGKILL),
    "kill-scheduler": partial(_ended, of=_only(0), number=SIGKILL),
    "kill-pod": partial(_ended, of=_pod, number=SIGKILL),
    "stop-pod-in-order": partial(_ended, of=_pod, number=SIGTERM),
    "pause-extender": partial(_paused, of=_only(1)),
    "pause-scheduler": partial(_paused, of=_only(0)),
    "pause-pod": partial(_paused, of=_pod),
    "delete-lease": _lease_deleted,
    "steal-lease": _lease_stolen,
    "give-lease-away": _lease_given_away,
    "restart-api-server": _api_server_restarted,
    "pause-etcd": _etcd_paused,
    "cut-connections": _cut,
    "lose-answers": partial(_answers, treatment=Fate.LOSE_ANSWER),
    "late-answers": partial(_answers, treatment=Silence(0)),
    "delay-bindings": _bindings_delayed,
    "lag-watches": _lagging,
    "refuse-sweep": _sweep_refused,
}


def strike(ground: Ground, fault: str, replica: int, seconds: float) -> None:
    """One fault from its beginning to its end."""
    with FAULTS[fault](ground, replica):
        time.sleep(seconds)
