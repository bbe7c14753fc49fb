"""Requests to the API server as the administrator, on a connection each, without our own code."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Object = dict[str, Any]
_SECONDS = 10.0


class ApiFailureError(Exception):
    """The request was refused, or got no answer."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class Api:
    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = urlsplit(cluster["server"])
        self._context = None
        if self._server.scheme == "https":
            self._context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
            self._context.load_cert_chain(user["client-certificate"], user["client-key"])

    def open(self, seconds: float | None = _SECONDS) -> http.client.HTTPConnection:
        host, port = self._server.hostname or "", self._server.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=seconds)
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._context)

    def request(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> Object:
        """The answer's object. Raises ApiFailureError."""
        connection = self.open()
        try:
            data = json.dumps(body) if body is not None else None
            connection.request(method, path, data, {"Content-Type": kind})
            answer = connection.getresponse()
            found: Object = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiFailureError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiFailureError(f"{method} {path}: {found.get('message')}", answer.status)
        return found

    def merge(self, path: str, patch: object) -> Object:
        return self.request("PATCH", path, patch, "application/merge-patch+json")

    def pods(self, namespace: str) -> list[Object]:
        found: list[Object] = self.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        return found
