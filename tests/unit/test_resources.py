"""What a pod requests, as kube-scheduler counts it."""

from typing import Any

import msgspec
import pytest

from spillover.api.kubernetes import PodObject
from spillover.core.model.resources import amount_of, asks_for_gpu, limit_of, pod_requests, written


def container(name: str = "c", restart: str | None = None, **requests: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "resources": {"requests": requests}}
    return {**made, "restartPolicy": restart} if restart else made


def requests(spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, int]:
    raw = {"metadata": {"name": "pod"}, "spec": spec, "status": status or {}}
    return dict(pod_requests(msgspec.convert(raw, PodObject)))


def test_containers_add_up() -> None:
    spec = {"containers": [container("a", cpu="1500m", memory="1Gi"), container("b", cpu="0.5")]}
    assert requests(spec) == {"cpu": 2000, "memory": 2**30}


def test_nothing_is_requested() -> None:
    assert requests({"containers": [{"name": "a"}]}) == {}
    assert requests({}) == {}


def test_the_largest_init_container_counts_where_it_is_larger() -> None:
    spec = {
        "initContainers": [container("i", cpu="3"), container("j", cpu="1", memory="2Gi")],
        "containers": [container("a", cpu="2", memory="1Gi")],
    }
    assert requests(spec) == {"cpu": 3000, "memory": 2 * 2**30}


def test_sidecars_run_beside_containers_and_later_init_containers() -> None:
    spec = {
        "initContainers": [
            container("first", cpu="4"),  # before the sidecar: alone
            container("sidecar", restart="Always", cpu="1"),
            container("second", cpu="4"),  # beside the sidecar
        ],
        "containers": [container("a", cpu="2")],
    }
    assert requests(spec) == {"cpu": 5000}
    spec["containers"] = [container("a", cpu="6")]
    assert requests(spec) == {"cpu": 7000}


def test_pod_level_requests_replace_the_sum_for_what_they_name() -> None:
    spec = {
        "resources": {"requests": {"cpu": "8", "hugepages-2Mi": "4Mi", "nvidia.com/gpu": "9"}},
        "containers": [container("a", cpu="1", memory="1Gi", **{"nvidia.com/gpu": "1"})],
    }
    assert requests(spec) == {
        "cpu": 8000, "memory": 2**30, "hugepages-2Mi": 4 * 2**20, "nvidia.com/gpu": 1
    }  # fmt: skip


def test_overhead_is_added() -> None:
    spec = {
        "overhead": {"cpu": "250m", "memory": "64Mi"},
        "resources": {"requests": {"cpu": "1"}},
        "containers": [container("a", memory="1Gi")],
    }
    assert requests(spec) == {"cpu": 1250, "memory": 2**30 + 64 * 2**20}


def status(allocated: str, actual: str, **more: Any) -> dict[str, Any]:
    there = {
        "name": "a",
        "allocatedResources": {"cpu": allocated},
        "resources": {"requests": {"cpu": actual}},
    }
    return {"containerStatuses": [there], **more}


@pytest.mark.parametrize(
    ("allocated", "actual", "cores"), [("1", "1", 2), ("3", "1", 3), ("1", "4", 4)]
)
def test_during_a_resize_the_largest_counts(allocated: str, actual: str, cores: int) -> None:
    spec = {"containers": [container("a", cpu="2")]}
    assert requests(spec, status(allocated, actual)) == {"cpu": cores * 1000}


def test_a_resize_that_is_not_feasible_does_not_count() -> None:
    spec = {"containers": [container("a", cpu="9")]}
    refused = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    assert requests(spec, status("2", "1", conditions=[refused])) == {"cpu": 2000}


def test_a_resize_of_the_whole_pod() -> None:
    spec = {"resources": {"requests": {"cpu": "1"}}, "overhead": {"cpu": "500m"}}
    grown = {"allocatedResources": {"cpu": "4500m"}, "resources": {"requests": {"cpu": "2500m"}}}
    assert requests(spec, grown) == {"cpu": 4500}


def test_equal_requests_are_one_object() -> None:
    raw = {"metadata": {}, "spec": {"containers": [container("a", cpu="1"), container("b")]}}
    first, second = (pod_requests(msgspec.convert(raw, PodObject)) for _ in range(2))
    assert first is second


def test_amounts_are_rounded_up_and_limits_down() -> None:
    assert amount_of("cpu", "0.0001") == 1
    assert limit_of("cpu", "1.0009") == 1000
    assert amount_of("memory", "1.5") == 2
    assert limit_of("memory", "1.5") == 1


@pytest.mark.parametrize(
    ("resource", "amount", "text"),
    [
        ("cpu", 8000, "8"), ("cpu", 1500, "1500m"), ("cpu", 0, "0"),
        ("memory", 4 * 2**30, "4Gi"), ("memory", 1000, "1000"), ("nvidia.com/gpu", 4, "4"),
        ("memory", 0, "0"),
    ],
)  # fmt: skip
def test_amounts_are_written_as_people_write_them(resource: str, amount: int, text: str) -> None:
    assert written(resource, amount) == text


@pytest.mark.parametrize(
    ("name", "is_gpu"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/gpu.shared", True),
        ("nvidia.com/mig-1g.10gb", True),
        ("nvidia.com/gpumem", True),
        ("amd.com/gpu", True),
        ("gpu.intel.com/i915", True),
        ("gpu.intel.com/xe", True),
        ("aliyun.com/gpu-mem", True),
        ("volcano.sh/vgpu-number", True),
        ("vke.volcengine.com/mgpu-core", True),
        ("tencent.com/vcuda-core", True),
        ("cpu", False),
        ("nvidia.com/hostdev", False),
        ("example.com/migrations", False),
    ],
)
def test_gpus_of_any_vendor(name: str, *, is_gpu: bool) -> None:
    assert asks_for_gpu(((name, 1),)) == is_gpu
    assert not asks_for_gpu(((name, 0),))


def test_an_init_container_asks_for_a_gpu_too() -> None:
    spec = {
        "containers": [container("a", cpu="1")],
        "initContainers": [container("i", **{"nvidia.com/gpu": "1"})],
    }
    assert asks_for_gpu(tuple(requests(spec).items()))
