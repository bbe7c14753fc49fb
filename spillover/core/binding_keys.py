"""Which labels and annotations a policy may have written onto pods.

A Binding is seen by no admission webhook: what it carries goes past every rule of the cluster. So
keys that grant something are refused: the credentials of a role, another network, another runtime.
The patterns stand in the ConfigMap `spillover-binding-keys`, which an administrator edits. The API
server reads the same ConfigMap (ValidatingAdmissionPolicy `spillover-bindings`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from spillover.api.errors import FieldError
from spillover.api.labels import DELETION_COST
from spillover.core.policy import InvalidPolicy, LoadedPolicy, Policy

CONFIG_MAP = "spillover-binding-keys"
_OURS = "spillover.dev/"


@dataclass(frozen=True, slots=True)
class BindingKeys:
    """Regular expressions that are searched for in a key. Without any `allowed`, every key is that
    is not refused."""

    refused: tuple[re.Pattern[str], ...] = ()
    allowed: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, str]) -> Self:
        """Of the ConfigMap's data: a pattern a line; empty lines and those that begin with # do not
        count. Raises ValueError, which names the field and the line."""
        return cls(*(tuple(_patterns(name, data.get(name, ""))) for name in ("refused", "allowed")))

    def problem(self, key: str) -> str | None:
        """Why a policy may not write this key, or None."""
        if key.startswith(_OURS) or key == DELETION_COST:
            return None
        if any(pattern.search(key) for pattern in self.refused):
            return f"may grant something: the cluster's {CONFIG_MAP} refuses it"
        if self.allowed and not any(pattern.search(key) for pattern in self.allowed):
            return f"is not among those that the cluster's {CONFIG_MAP} allows"
        return None

    def judged(self, policy: LoadedPolicy) -> LoadedPolicy:
        """The policy, or an invalid one in its place."""
        if not isinstance(policy, Policy):
            return policy
        errors = tuple(self._errors(policy))
        if not errors:
            return policy
        return InvalidPolicy(
            policy.key, policy.uid, policy.created, policy.selector, errors, policy.generation
        )

    def _errors(self, policy: Policy) -> Iterator[FieldError]:
        for index, unit in enumerate(policy.units):
            path = f"spec.units[{index}]"
            yield from self._of_field(f"{path}.podLabels", unit.pod_labels)
            yield from self._of_field(f"{path}.podAnnotations", unit.pod_annotations)

    def _of_field(self, path: str, keys: Iterable[str]) -> Iterator[FieldError]:
        for key in keys:
            if problem := self.problem(key):
                yield FieldError(f"{path}[{key}]", problem)


ALL = BindingKeys()
"""Where there is no such ConfigMap. The API server refuses all bindings then."""


def _patterns(field: str, text: str) -> Iterator[re.Pattern[str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line and not line.startswith("#"):
            try:
                yield re.compile(line)
            except re.error as error:
                raise ValueError(
                    f"data.{field}, line {number}: not a regular expression: {error}"
                ) from error
