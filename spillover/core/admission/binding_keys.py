"""Which labels and annotations a policy may write onto pods.

No admission webhook sees a Binding, so its labels and annotations bypass every rule of the cluster.
Spillover therefore refuses keys that grant something: the credentials of a role, another network,
another runtime. The patterns are in the ConfigMap `spillover-binding-keys`, which an administrator
edits. The API server reads the same ConfigMap (ValidatingAdmissionPolicy `spillover-bindings`).
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
from spillover.core.cache.binding_plan import ACS_LABELS
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, Policy
from spillover.core.reporting.scale_up import DELAY

CONFIG_MAP = "spillover-binding-keys"
_OURS = "spillover.dev/"


@dataclass(frozen=True, slots=True)
class BindingKeys:
    """Regular expressions for keys. A pattern may match any part of a key."""

    refused: re.Pattern[str] | None = None
    """None: no key is refused."""
    allowed: re.Pattern[str] | None = None
    """None: every key is allowed."""

    @classmethod
    def read(cls, data: Mapping[str, str]) -> Self:
        """Reads the ConfigMap's data, one pattern per line. Ignores empty lines and lines that
        begin with #. Raises ValueError, which names the field and the line."""
        return cls(*(_pattern(name, data.get(name, "")) for name in ("refused", "allowed")))

    def problem(self, key: str) -> str | None:
        """Why a policy may not write this key, or None."""
        return _problem(self, key)

    def judged(self, policy: LoadedPolicy) -> LoadedPolicy:
        """The policy, or an invalid policy in its place if the policy writes a refused key."""
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
            if unit.defaults_of_acs:
                yield from self._of_field(f"{path}.resource", ACS_LABELS)

    def _of_field(self, path: str, keys: Iterable[str]) -> Iterator[FieldError]:
        for key in keys:
            if problem := self.problem(key):
                yield FieldError(f"{path}[{key}]", problem)


ALL = BindingKeys()
"""Applies before the first list of the ConfigMap, and where nobody can read it."""

NONE = BindingKeys(allowed=re.compile("^$"))
"""Applies if the ConfigMap does not exist, or exists but has never been read. The API server then
judges no Binding."""


@lru_cache(maxsize=16_384)
def _problem(keys: BindingKeys, key: str) -> str | None:
    if key.startswith(_OURS) or key in (DELETION_COST, DELAY):
        return None
    if keys.refused is not None and keys.refused.search(key):
        return f"may grant something: the cluster's {CONFIG_MAP} refuses it"
    if keys is NONE:
        return f"no key may be written: the cluster has no readable ConfigMap {CONFIG_MAP}"
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
        # Only patterns that Python and RE2 interpret alike, and that match in bounded time.
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
