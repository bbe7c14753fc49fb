"""Watches the ConfigMap of the label and annotation keys that a policy may write onto pods."""

from collections.abc import Callable, Set
from random import Random

import msgspec

from spillover.core.admission.binding_keys import ALL, CONFIG_MAP, NONE, BindingKeys
from spillover.core.model.policy import LoadedPolicy, PolicyKey
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


_CONFIG_MAPS = msgspec.json.Decoder(_ConfigMap)


class PolicyJudge:
    """Judges policies by the current keys, and judges all policies again when the keys change. This
    class is the sink of the ConfigMap's watch."""

    def __init__(self) -> None:
        self._keys = ALL
        self._is_broken = False
        self._loaded: dict[PolicyKey, LoadedPolicy] = {}
        self._takers: dict[str, Callable[[LoadedPolicy], None]] = {}

    @property
    def keys(self) -> BindingKeys:
        return self._keys

    def tell(self, group: str, take: Callable[[LoadedPolicy], None]) -> None:
        """Registers `take` for a dialect. When the keys change, `take` gets each policy of the
        dialect whose judgement changes."""
        self._takers[group] = take

    def judged(self, policy: LoadedPolicy) -> LoadedPolicy:
        """Stores the policy, and returns it as the current keys judge it."""
        self._loaded[policy.key] = policy
        return self._keys.judged(policy)

    def known(self, key: PolicyKey) -> LoadedPolicy | None:
        """The policy as it was loaded last, before any judgement, or None."""
        return self._loaded.get(key)

    def forget(self, key: PolicyKey) -> None:
        self._loaded.pop(key, None)

    def put(self, item: BindingKeys) -> None:
        self._is_broken = False
        self._set(item)

    def drop(self, item: BindingKeys) -> None:  # noqa: ARG002 - a Sink's
        self._set(NONE)

    def key(self, item: BindingKeys) -> str:  # noqa: ARG002 - a Sink's
        return CONFIG_MAP

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        if not listed and not self._is_broken:
            self._set(NONE)
        self._is_broken = False

    def unreadable(self, found: Unreadable) -> None:  # noqa: ARG002 - a Sink's
        """Keeps the last readable keys. The log and a metric report the error in the new ConfigMap.
        If no keys were known before, no key may be written."""
        self._is_broken = True
        if self._keys is ALL:
            self._set(NONE)

    def _set(self, keys: BindingKeys) -> None:
        before, self._keys = self._keys, keys
        for policy in list(self._loaded.values()):
            now = keys.judged(policy)
            if now != before.judged(policy):
                self._takers[policy.key.group](now)


def keys_reflector(
    session: ApiSession,
    namespace: str,
    judge: PolicyJudge,
    random: Random,
    clock: Callable[[], float],
) -> Reflector[BindingKeys]:
    """The watch of this one ConfigMap. Our Role allows no other ConfigMap."""
    return Reflector(
        session,
        f"/api/v1/namespaces/{namespace}/configmaps",
        binding_keys,
        judge,
        random,
        clock,
        select={"fieldSelector": f"metadata.name={CONFIG_MAP}"},
    )


def binding_keys(raw: bytes | msgspec.Raw) -> BindingKeys:
    """The keys in the ConfigMap's JSON. Raises ValueError or msgspec.MsgspecError."""
    return BindingKeys.read(_CONFIG_MAPS.decode(raw).data)
