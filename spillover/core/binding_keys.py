"""Which labels and annotations a policy may have written onto pods.

A Binding is seen by no admission webhook: what it carries goes past every rule of the cluster. So
keys that grant something are refused: the credentials of a role, another network, another runtime.
The patterns stand in the ConfigMap `spillover-binding-keys`, which an administrator edits. The API
server reads the same ConfigMap (ValidatingAdmissionPolicy `spillover-bindings`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Self

from spillover.api.bounds import MOST_ERRORS
from spillover.api.errors import FieldError
from spillover.api.labels import DELETION_COST
from spillover.core.policy import InvalidPolicy, LoadedPolicy, Policy

CONFIG_MAP = "spillover-binding-keys"
_OURS = "spillover.dev/"


@dataclass(frozen=True, slots=True)
class BindingKeys:
    """Regular expressions that are searched for in a key. None: no key is refused, every key is
    allowed."""

    refused: re.Pattern[str] | None = None
    allowed: re.Pattern[str] | None = None

    @classmethod
    def read(cls, data: Mapping[str, str]) -> Self:
        """Of the ConfigMap's data: a pattern a line; empty lines and those that begin with # do not
        count. Raises ValueError, which names the field and the line."""
        return cls(*(_pattern(name, data.get(name, "")) for name in ("refused", "allowed")))

    def problem(self, key: str) -> str | None:
        """Why a policy may not write this key, or None."""
        return _problem(self, key)

    def judged(self, policy: LoadedPolicy) -> LoadedPolicy:
        """The policy, or an invalid one in its place."""
        if not isinstance(policy, Policy):
            return policy
        errors = tuple(islice(self._errors(policy), MOST_ERRORS))
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

NONE = BindingKeys(allowed=re.compile("^$"))
"""Where there is one, and it has never been read."""


@lru_cache(maxsize=16_384)
def _problem(keys: BindingKeys, key: str) -> str | None:
    if key.startswith(_OURS) or key == DELETION_COST:
        return None
    if keys.refused is not None and keys.refused.search(key):
        return f"may grant something: the cluster's {CONFIG_MAP} refuses it"
    if keys.allowed is not None and not keys.allowed.search(key):
        return f"is not among those that the cluster's {CONFIG_MAP} allows"
    return None


_LINE = re.compile(r"(?:[A-Za-z0-9/_^$|()-]|\\\.|\.\*|(?<=[A-Za-z0-9)-])\?)+")
_MOST_STARS = 2


def _pattern(field: str, text: str) -> re.Pattern[str] | None:
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.startswith("#"):
            continue
        where = f"data.{field}, line {number}"
        # What Python and RE2 understand alike, and what takes no time that grows without bound.
        if not _LINE.fullmatch(line) or "(?" in line or line.count(".*") > _MOST_STARS:
            raise ValueError(
                f"{where}: only letters, digits, / _ - \\. ^ $ | ( ) ? and at most two .* may stand"
                " in a pattern"
            )
        try:
            re.compile(line)
        except re.error as error:
            raise ValueError(f"{where}: not a regular expression: {error}") from error
        lines.append(f"(?:{line})")
    return re.compile("|".join(lines)) if lines else None
