"""What explain believes of the scheduler's own plugins."""

from typing import Any

import msgspec
import pytest

from builders import pod
from spillover.api.kubernetes import ConstrainedPod, NodeCapacity, Toleration
from spillover.core.reporting.fit import (
    CORDONED,
    MISMATCH,
    NOT_USED,
    PORT_TAKEN,
    Capacity,
    capacity_of,
    host_ports,
    in_use,
    misfit,
)

LABELS = {"pool": "a", "size": "20"}


def constrained(**spec: Any) -> ConstrainedPod:
    return msgspec.convert({"spec": spec}, ConstrainedPod)


def host(**spec: Any) -> Capacity:
    wire = {"spec": spec, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3"}}}
    return capacity_of("host", LABELS, msgspec.convert(wire, NodeCapacity))


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def wants(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def test_it_fits() -> None:
    who = pod(requests=(("cpu", 4000), ("memory", 8 * 2**30)))
    assert misfit(who, constrained(), host(), NOT_USED) is None


def test_what_others_use_is_not_free() -> None:
    who = pod(requests=(("cpu", 2000), ("memory", 2**30)))
    used = in_use(
        [
            (pod("a", node="host", requests=(("cpu", 1500),)), ()),
            (pod("b", node="host", requests=(("cpu", 1500),), terminating=True), ()),
            (pod("done", node="host", requests=(("cpu", 4000),), finished=True), ()),
            (pod("elsewhere", node="other", requests=(("cpu", 4000),)), ()),
            (pod("waiting", requests=(("cpu", 4000),)), ()),
        ]
    )
    assert misfit(who, constrained(), host(), used["host"]) == "without enough free cpu"
    assert misfit(who, constrained(), host(), None) is None


def test_the_number_of_pods_is_a_resource() -> None:
    used = in_use([(pod(str(number), node="host"), ()) for number in range(3)])
    assert misfit(pod(), constrained(), host(), used["host"]) == "without enough free pods"


def test_an_unknown_resource_is_lacking() -> None:
    who = pod(requests=(("nvidia.com/gpu", 1),))
    assert misfit(who, constrained(), host(), NOT_USED) == "without enough free nvidia.com/gpu"


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        (Toleration("", "Exists"), True),
        (Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule"), True),
        (Toleration("node.kubernetes.io/unschedulable"), True),
        (Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoExecute"), False),
        (Toleration("other", "Exists"), False),
    ],
)
def test_a_cordoned_node_needs_a_toleration(toleration: Toleration, *, fits: bool) -> None:
    cordoned = host(unschedulable=True)
    assert misfit(pod(), constrained(), cordoned, NOT_USED) == CORDONED
    tolerant = pod(tolerations=(toleration,))
    assert (misfit(tolerant, constrained(), cordoned, NOT_USED) is None) == fits


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"nodeSelector": {"pool": "a"}}, True),
        ({"nodeSelector": {"pool": "b"}}, False),
        ({"affinity": affinity(wants("pool", "In", "a", "b"))}, True),
        ({"affinity": affinity(wants("pool", "NotIn", "a"))}, False),
        ({"affinity": affinity(wants("pool", "In", "x"), wants("size", "Gt", "10"))}, True),
        ({"affinity": affinity({})}, False),
        ({"affinity": affinity()}, False),
        ({"affinity": {}}, True),
        ({"nodeSelector": {"pool": "b"}, "affinity": affinity(wants("pool", "Exists"))}, False),
        (
            {
                "affinity": affinity(
                    {
                        "matchFields": [
                            {"key": "metadata.name", "operator": "In", "values": ["host"]}
                        ]
                    }
                )
            },
            True,
        ),
    ],
)
def test_node_selector_and_affinity(spec: dict[str, Any], *, fits: bool) -> None:
    assert misfit(pod(), constrained(**spec), host(), NOT_USED) == (None if fits else MISMATCH)


def with_port(port: int = 80, ip: str = "", protocol: str = "TCP") -> dict[str, Any]:
    return {"ports": [{"hostPort": port, "hostIP": ip, "protocol": protocol}]}


@pytest.mark.parametrize(
    ("theirs", "taken"),
    [
        (with_port(), True), (with_port(81), False), (with_port(protocol="UDP"), False),
        (with_port(ip="10.0.0.1"), True), ({"ports": [{"containerPort": 80}]}, False),
    ],
)  # fmt: skip
def test_a_host_port_is_there_once(theirs: dict[str, Any], *, taken: bool) -> None:
    others = constrained(containers=[theirs])
    used = in_use([(pod("other", node="host"), host_ports(others))])["host"]
    ours = constrained(containers=[with_port()])
    assert misfit(pod(), ours, host(), used) == (PORT_TAKEN if taken else None)


def test_ports_on_different_addresses_do_not_conflict() -> None:
    others = constrained(containers=[with_port(ip="10.0.0.1")])
    used = in_use([(pod("other", node="host"), host_ports(others))])["host"]
    ours = constrained(containers=[with_port(ip="10.0.0.2")])
    assert misfit(pod(), ours, host(), used) is None


def test_sidecars_take_ports_and_other_init_containers_do_not() -> None:
    sidecar = {**with_port(), "restartPolicy": "Always"}
    assert len(host_ports(constrained(initContainers=[sidecar, with_port(81)]))) == 1
