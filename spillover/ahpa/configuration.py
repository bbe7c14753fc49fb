"""What ConfigMaps of the cluster say: where Prometheus is, and who the API server's front proxy is.

Both are watched by name. A change takes effect without a restart.
"""

import logging
from collections.abc import Callable, Mapping, Set
from random import Random
from typing import Generic, TypeVar

import msgspec

from spillover.aggregated import front_proxy
from spillover.aggregated.front_proxy import FrontProxy
from spillover.ahpa.prometheus import Source
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

CONFIG_MAP = "application-intelligence"
_IGNORED = ("prometheus_writer_url", "prometheus_writer_ak", "prometheus_writer_sk")

_log = logging.getLogger(__name__)

T = TypeVar("T")


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


_CONFIG_MAPS = msgspec.json.Decoder(_ConfigMap)


class Latest(Generic[T]):
    """The readable content of one ConfigMap, as the sink of its watch. `otherwise` stands for a
    ConfigMap that does not exist. One that cannot be read leaves the content as it was."""

    def __init__(
        self, name: str, otherwise: T, changed: Callable[[T], None] = lambda _: None
    ) -> None:
        self._name = name
        self._otherwise = otherwise
        self._changed = changed
        self._is_broken = False
        self.content = otherwise

    def put(self, item: T) -> None:
        self._is_broken = False
        self._set(item)

    def drop(self, item: T) -> None:  # noqa: ARG002 - a Sink's
        self._set(self._otherwise)

    def key(self, item: T) -> str:  # noqa: ARG002 - a Sink's
        return self._name

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        if not listed and not self._is_broken:
            self._set(self._otherwise)
        self._is_broken = False

    def unreadable(self, found: Unreadable) -> None:  # noqa: ARG002 - a Sink's
        """The log and a metric report it."""
        self._is_broken = True

    def _set(self, content: T) -> None:
        if content != self.content:
            self.content = content
            self._changed(content)


def source_of(data: Mapping[str, str]) -> Source:
    """Where Prometheus is, by the vendor's ConfigMap. Raises ValueError, which names the key."""
    for key in _IGNORED:
        if data.get(key):
            _log.warning("%s: %s is ignored: forecasts are not written back", CONFIG_MAP, key)
    try:
        return Source(data.get("prometheusUrl", "").strip(), data.get("token", "").strip())
    except ValueError as error:
        raise ValueError(f"{CONFIG_MAP}: prometheusUrl: {error}") from error


def source_watch(
    session: ApiSession,
    namespace: str,
    latest: Latest[Source | None],
    random: Random,
    clock: Callable[[], float],
) -> Reflector[Source | None]:
    return Reflector(
        session,
        f"/api/v1/namespaces/{namespace}/configmaps",
        lambda raw: source_of(_CONFIG_MAPS.decode(raw).data),
        latest,
        random,
        clock,
        select={"fieldSelector": f"metadata.name={CONFIG_MAP}"},
    )


def front_proxy_watch(
    session: ApiSession,
    latest: Latest[FrontProxy | None],
    random: Random,
    clock: Callable[[], float],
) -> Reflector[FrontProxy | None]:
    return Reflector(
        session,
        f"/api/v1/namespaces/{front_proxy.NAMESPACE}/configmaps",
        lambda raw: FrontProxy.read(_CONFIG_MAPS.decode(raw).data),
        latest,
        random,
        clock,
        select={"fieldSelector": f"metadata.name={front_proxy.CONFIG_MAP}"},
    )
