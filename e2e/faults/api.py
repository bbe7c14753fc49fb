"""Requests to the API server as the administrator, on a connection each, without our own code."""

import http.client
import json
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Object = dict[str, Any]
_SECONDS = 10.0
_MANAGED_FIELDS = re.compile(rb'"managedFields":\[.*?\]\}(?=,"spec":)', re.DOTALL)


class ApiFailureError(Exception):
    """The request was refused, or got no answer."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


def parsed(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """JSON; of pods with managedFields nested deeper than Python reads, without these. Raises
    ValueError. No annotation looks like them: quotes within a string have a backslash before. And
    their end is the first that looks so: within them there are no lists but in strings."""
    try:
        return json.loads(content)
    except RecursionError:
        return json.loads(_MANAGED_FIELDS.sub(b'"managedFields":[]}', content))


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
        data = json.dumps(body).encode() if body is not None else None
        status, content = self.send(method, path, data, kind)
        try:
            found: Object = parsed(content)
        except ValueError as error:
            raise ApiFailureError(f"{method} {path}: {error!r}") from error
        if status >= 300:
            raise ApiFailureError(f"{method} {path}: {found.get('message')}", status)
        return found

    def send(
        self, method: str, path: str, data: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body of the answer, whatever they are. Raises ApiFailureError without one."""
        connection = self.open()
        try:
            connection.request(method, path, data, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiFailureError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def merge(self, path: str, patch: object) -> Object:
        return self.request("PATCH", path, patch, "application/merge-patch+json")

    def pods(self, namespace: str) -> list[Object]:
        found: list[Object] = self.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        return found
