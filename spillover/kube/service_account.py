"""Credentials of a Pod: its ServiceAccount.

Source: k8s.io/client-go/rest, InClusterConfig.
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


def is_pod(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns whether this process runs in a Pod."""
    return HOST in environment


class ServiceAccount:
    """The credentials of the Pod's ServiceAccount.

    The token is read for each request, because the kubelet replaces the file long before the token
    expires. The constructor and the methods raise OSError or ValueError if the token, the authority
    or an environment variable is missing."""

    def __init__(self, folder: Path = FOLDER, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        host, port = (environment.get(name, "") for name in (HOST, PORT))
        if not host or not port:
            raise ValueError(f"the variables {HOST} and {PORT} are not both set")
        self.server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._authority()
        self._token()

    @property
    def namespace(self) -> str:
        file = self._folder / "namespace"
        return (file.read_text().strip() if file.exists() else "") or "default"

    async def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token()}"}

    def ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self._authority())

    def _authority(self) -> str:
        return (self._folder / "ca.crt").read_text()

    def identity(self) -> tuple[bytes, ...]:
        return (self._authority().encode(),)

    def _token(self) -> str:
        token = (self._folder / "token").read_text().strip()
        if not token:
            raise ValueError(f"{self._folder / 'token'} is empty")
        return token
