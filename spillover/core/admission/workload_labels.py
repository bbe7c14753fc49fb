"""Labels that a policy's units would change and that a workload selects its pods by. Spillover does
not write them (`spillover.core.cache.kept_labels`). The webhook says so beforehand."""

from collections.abc import Iterable, Iterator, Sequence

from spillover.api.kubernetes import TemplatedWorkload
from spillover.core.cache.binding_plan import labels_of
from spillover.core.model.policy import LoadedPolicy, Policy
from spillover.core.model.selectors import includes, lost, requirements_of

_MOST_NAMES = 5


def changed_keys(workload: TemplatedWorkload, policy: LoadedPolicy | None) -> list[str]:
    """The keys of labels that some unit of the policy has with a value that the workload's selector
    does not accept. `policy` is the policy of the workload's pods. Raises ValueError for a selector
    that no API server stores."""
    if not isinstance(policy, Policy):
        return []
    template = workload.spec.template.metadata.labels or {}
    selector = requirements_of(workload.spec.selector)
    found: set[str] = set()
    for unit in policy.units:
        written = labels_of(template, (), (), unit)
        found |= lost(selector, template, {**template, **written}) & written.keys()
    return sorted(found)


def on_workload(workload: TemplatedWorkload, policy: LoadedPolicy | None) -> list[str]:
    """Warnings for the user who writes the workload."""
    return [
        f"spec.selector: units of ResourcePolicy {policy.key.name if policy else ''} give pods the"
        f" label {key} with another value than this workload selects by: Spillover does not write"
        " it to these pods"
        for key in changed_keys(workload, policy)
    ]


def on_policy(policy: Policy, workloads: Iterable[TemplatedWorkload]) -> Iterator[str]:
    """Warnings for the user who writes the policy. `workloads` are those of its namespace."""
    concerned: dict[str, list[str]] = {}
    for workload in workloads:
        if any(each.controller for each in workload.metadata.owner_references or ()):
            continue  # the workload that owns it is told
        template = workload.spec.template.metadata.labels or {}
        if includes(template, policy.selector):
            for key in changed_keys(workload, policy):
                concerned.setdefault(key, []).append(workload.metadata.name)
    for key, names in sorted(concerned.items()):
        yield (
            f"the label {key} of some units is not written to the pods of {_listed(names)}, whose"
            " selectors want another value"
        )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(sorted(names)[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def writes_labels(policy: LoadedPolicy) -> bool:
    """Whether some unit gives its pods a label."""
    return isinstance(policy, Policy) and any(
        unit.pod_labels or unit.defaults_of_acs for unit in policy.units
    )
