"""PromQL for the load of a workload, from templates.

A template has `{namespace}` and `{pods}`, a regular expression for the names of the workload's
pods, both quoted for a PromQL string. Each load is the sum over all pods, in the unit of the goal.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LOAD, PODS = "load", "pods"
MARK = "spillover_part"
"""The label that tells the two parts of an answer apart."""

_FIELDS = {"namespace", "pods"}
_WHERE = 'namespace="{namespace}",pod=~"{pods}"'
_PERCENT_OF_CPU = (
    f'sum(rate(container_cpu_usage_seconds_total{{{{container!="",{_WHERE}}}}}[2m])) * 100 / '
    f'avg(sum by (pod) (kube_pod_container_resource_requests{{{{resource="cpu",{_WHERE}}}}}))'
)
_PERCENT_OF_MEMORY = (
    f'sum(container_memory_working_set_bytes{{{{container!="",{_WHERE}}}}}) * 100 / '
    f'avg(sum by (pod) (kube_pod_container_resource_requests{{{{resource="memory",{_WHERE}}}}}))'
)


class QueryError(ValueError):
    """The file of queries is wrong. The message names the query."""


@dataclass(frozen=True, slots=True)
class Query:
    """The templates of one metric."""

    load: str
    pods: str
    """How many pods the load is of."""
    capacity: float | None = None
    """The most that one pod can show; None: no limit."""

    def expression(self, namespace: str, pods: str) -> str:
        """One expression for both parts: each has the label `MARK`."""
        values = {"namespace": _quoted(namespace), "pods": _quoted(pods)}
        parts = (
            f'label_replace({template.format_map(values)}, "{MARK}", "{name}", "", "")'
            for name, template in ((LOAD, self.load), (PODS, self.pods))
        )
        return " or ".join(parts)


def _query(load: str, sample: str, capacity: float | None = None) -> Query:
    """`sample` is a series that each pod has."""
    return Query(load, f"count(count by (pod) ({sample}))", capacity)


_CONTAINERS = f'container_memory_working_set_bytes{{{{container!="",{_WHERE}}}}}'
_REQUESTS = f"http_requests_total{{{{{_WHERE}}}}}"
_SECONDS = f"http_request_duration_seconds_sum{{{{{_WHERE}}}}}"
_COUNT = f"http_request_duration_seconds_count{{{{{_WHERE}}}}}"
_IN_FLIGHT = f"http_requests_in_flight{{{{{_WHERE}}}}}"
_GPU = f"DCGM_FI_DEV_GPU_UTIL{{{{{_WHERE}}}}}"

BUILT_IN: Mapping[str, Query] = {
    "cpu": _query(_PERCENT_OF_CPU, _CONTAINERS),
    "memory": _query(_PERCENT_OF_MEMORY, _CONTAINERS),
    # The exporter of NVIDIA's DCGM. A pod with several GPUs counts with their mean.
    "gpu": _query(f"sum(avg by (pod) ({_GPU}))", _GPU, capacity=100.0),
    "rps": _query(f"sum(rate({_REQUESTS}[2m]))", _REQUESTS),
    # Milliseconds; 0 without a request.
    "rt": _query(
        f"(sum(rate({_SECONDS}[2m])) * 1000 / sum(rate({_COUNT}[2m])) >= 0 or vector(0)) * "
        f"count(count by (pod) ({_SECONDS}))",
        _SECONDS,
    ),
    "concurrency": _query(f"sum({_IN_FLIGHT})", _IN_FLIGHT),
}
"""The resources of the vendor. The names of metrics and labels are those of the usual exporters."""


def read_queries(file: Path | None) -> Mapping[str, Query]:
    """The built-in queries, and those of a YAML file in their place or besides. Raises
    QueryError."""
    if file is None:
        return BUILT_IN
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise QueryError(f"{file.name}: {error}") from error
    if found is None:
        return BUILT_IN
    if not isinstance(found, dict):
        raise QueryError(f"{file.name}: is no map from the name of a metric to its queries")
    return {**BUILT_IN, **{str(name): _read(str(name), each) for name, each in found.items()}}


def _read(name: str, found: Any) -> Query:  # noqa: ANN401 - whatever the file has
    if not isinstance(found, dict):
        raise QueryError(f"{name}: is no map with load and pods")
    if unknown := set(found) - {"load", "pods", "capacity"}:
        raise QueryError(f"{name}: has unknown fields: {', '.join(sorted(map(str, unknown)))}")
    for part in ("load", "pods"):
        template = found.get(part)
        if not isinstance(template, str) or not template.strip():
            raise QueryError(f"{name}.{part}: is required")
        try:
            fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
        except ValueError as error:
            raise QueryError(f"{name}.{part}: {error}; write {{{{ for a brace") from error
        if fields - _FIELDS:
            raise QueryError(
                f"{name}.{part}: {{{min(fields - _FIELDS)}}} is not one of {{namespace}}, {{pods}};"
                " write {{ for a brace"
            )
    capacity = found.get("capacity")
    if capacity is not None and (not isinstance(capacity, int | float) or capacity <= 0):
        raise QueryError(f"{name}.capacity: must be a number above 0")
    return Query(found["load"], found["pods"], capacity)


def _quoted(text: str) -> str:
    """Inside a PromQL string."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
