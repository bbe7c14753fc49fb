"""What a pod requests, counted as kube-scheduler counts it.

Source: k8s.io/component-helpers/resource, PodRequests; k8s.io/kubernetes, scheduler NodeInfo.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

from spillover.api.kubernetes import Container, ContainerStatus, PodObject
from spillover.api.quantity import parse_quantity

Requests = tuple[tuple[str, int], ...]
"""Pairs of resource and amount, sorted by resource. CPU is in thousandths of a core, every other
resource in whole units."""

_ANY_POD_LEVEL = ("cpu", "memory")
_HUGEPAGES = "hugepages-"
_GPU = re.compile(r"gpu|/mig-|/vcuda-")
"""In the name of a resource, with its domain."""

Amounts = Counter[str]


def pod_requests(pod: PodObject) -> Requests:
    """The pod's requests. Init containers, sidecars, pod-level resources and overhead count as in
    the scheduler. During a resize of the pod, the largest of its desired, allocated and actual
    resources counts."""
    spec, status = pod.spec, pod.status
    statuses = {
        each.name: each
        for each in (*(status.init_container_statuses or ()), *(status.container_statuses or ()))
        if each.allocated_resources is not None or each.resources is not None
    }
    if spec.resources is None and not spec.overhead and not statuses and not spec.init_containers:
        # Most pods have one container and nothing else that counts: a fast path for them.
        plain = [container.resources.requests or {} for container in spec.containers or ()]
        if len(plain) == 1:
            return _of_items(tuple(plain[0].items()))
    infeasible = any(
        each.type == "PodResizePending" and each.reason == "Infeasible"
        for each in status.conditions or ()
    )
    total: Amounts = Counter()
    if not infeasible or not statuses:
        total |= _all_containers(pod, {})
    if statuses:
        total |= _all_containers(pod, {name: _allocated(each) for name, each in statuses.items()})
        total |= _all_containers(pod, {name: _actual(each) for name, each in statuses.items()})
    overhead = _amounts(spec.overhead)
    if spec.resources is not None:
        whole = Amounts() if infeasible else _amounts(spec.resources.requests)
        actual = status.resources.requests if status.resources is not None else None
        for reported in (actual, status.allocated_resources):
            whole |= _amounts(reported) - overhead  # the amounts in the status include the overhead
        for name, amount in whole.items():
            if name in _ANY_POD_LEVEL or name.startswith(_HUGEPAGES):
                total[name] = amount
    total += overhead
    return _shared(tuple(sorted(total.items())))


def amount_of(resource: str, quantity: str | int) -> int:
    """Converts a quantity that a pod requests into the units of Requests. Rounds up."""
    return _whole(resource, parse_quantity(quantity), ROUND_CEILING)


def limit_of(resource: str, quantity: str | int) -> int:
    """Converts a quantity that is a limit into the units of Requests. Rounds down."""
    return _whole(resource, parse_quantity(quantity), ROUND_FLOOR)


def written(resource: str, amount: int) -> str:
    """An amount as people write it: 1500 of cpu as 1500m, 4294967296 of memory as 4Gi."""
    if resource == "cpu":
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    for power, suffix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if amount and amount % 1024**power == 0:
            return f"{amount // 1024**power}{suffix}"
    return str(amount)


def asks_for_gpu(requests: Requests) -> bool:
    """Whether a pod requests a GPU of any vendor or a part of one, such as nvidia.com/gpu,
    nvidia.com/mig-1g.10gb, gpu.intel.com/i915 or aliyun.com/gpu-mem."""
    return any(_GPU.search(name) and amount for name, amount in requests)


def _all_containers(pod: PodObject, instead: Mapping[str, Mapping[str, str] | None]) -> Amounts:
    """The requests of all containers. `instead` has requests that replace those of a container, by
    container name. None there: the container keeps its own requests."""

    def asked(container: Container) -> Amounts:
        replaced = instead.get(container.name)
        return _amounts(container.resources.requests if replaced is None else replaced)

    total = sum((asked(each) for each in pod.spec.containers or ()), Amounts())
    sidecars, starting = Amounts(), Amounts()
    for container in pod.spec.init_containers or ():
        own = asked(container)
        if container.restart_policy == "Always":
            total += own
            sidecars += own
            starting |= sidecars
        else:
            starting |= own + sidecars
    return total | starting


def _allocated(status: ContainerStatus) -> Mapping[str, str] | None:
    return status.allocated_resources


def _actual(status: ContainerStatus) -> Mapping[str, str] | None:
    actual = status.resources.requests if status.resources is not None else None
    return actual if actual is not None else status.allocated_resources


def _amounts(requests: Mapping[str, str] | None) -> Amounts:
    return Amounts({name: amount_of(name, quantity) for name, quantity in (requests or {}).items()})


@lru_cache(maxsize=4096)
def _of_items(items: tuple[tuple[str, str], ...]) -> Requests:
    return tuple(
        sorted((name, amount) for name, text in items if (amount := amount_of(name, text)))
    )


@lru_cache(maxsize=4096)
def _shared(requests: Requests) -> Requests:
    """Returns one shared object for equal requests: pods of a workload have equal requests."""
    return requests


def _whole(resource: str, quantity: Decimal, rounding: str) -> int:
    scaled = quantity * 1000 if resource == "cpu" else quantity
    return int(scaled.to_integral_value(rounding))


def total_of(all_requests: Iterable[Requests]) -> Amounts:
    total = Amounts()
    for requests in all_requests:
        total.update(dict(requests))
    return total
