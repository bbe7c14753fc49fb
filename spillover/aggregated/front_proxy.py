"""Who may ask an aggregated API server: only the front proxy of the API server.

The front proxy has authenticated and authorized the user. It presents a client certificate, and
names the user in headers. Without that certificate anybody could write these headers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

CONFIG_MAP = "extension-apiserver-authentication"
NAMESPACE = "kube-system"
"""Where every API server with an aggregation layer says who its front proxy is."""

_AUTHORITIES = "requestheader-client-ca-file"
_NAMES = "requestheader-allowed-names"


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """How to recognize the front proxy."""

    authorities: str
    """Certificates in PEM. One of them has signed the front proxy's."""
    names: frozenset[str]
    """Common names of its certificate. Empty: any."""

    @classmethod
    def read(cls, data: Mapping[str, str]) -> Self:
        """From the data of the ConfigMap. Raises ValueError, which names the key."""
        authorities = data.get(_AUTHORITIES, "")
        if "BEGIN CERTIFICATE" not in authorities:
            raise ValueError(
                f"{_AUTHORITIES}: is no certificate: the API server has no aggregation layer"
            )
        try:
            names = json.loads(data.get(_NAMES) or "[]")
        except ValueError as error:
            raise ValueError(f"{_NAMES}: {error}") from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{_NAMES}: is no list of names")
        return cls(authorities, frozenset(names))

    def admits(self, common_name: str) -> bool:
        """Whether a certificate with this common name, signed by one of the authorities, is the
        front proxy's."""
        return bool(common_name) and (not self.names or common_name in self.names)
