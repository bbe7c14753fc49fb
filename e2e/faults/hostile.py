"""Pods of somebody who means harm, under the same policy as the load, while faults strike."""

from random import Random
from typing import Any

from faults.api import Api, ApiFailureError
from faults.churn import LOAD, Churn
from harness import scenes
from harness.fuzz import MERGE, encoded
from harness.watch import is_live, node_of

Object = dict[str, Any]

_MOST = 8
_ODD = "odd-"
_NEVER = "never-"
"""Begins the names of pods that fit on no node."""
_SMALL = ("1e0002", "0.0000000000001", "0001", "1n", ".5", "1E-9", "0" * 70 + "1", "0.1k")
_LARGE = ("1Ei", "12345678901234567890", "8E", "9" * 60, "1e18")
_DEPTHS = (40, 60, 900, 1000, 1100, 3000, 5000)
_UNITS = ("", "ecs", "eci-0000000000", "\0", "u" * 999, "virtual")
_POLICIES = ("", f"{scenes.ACK}/load", f"{scenes.ACK}/other", f"{scenes.VKE}/load", "/", "a/b/c")
_WAITS = ("{", "[" * 5000, '{"ecs": 1}', '{"ecs": "9999-12-31T23:59:59Z"}', '{"a":' * 3000, "null")


class HostileChurn(Churn):
    """Like Churn. Where a pod counts is told by its node, which the judge goes by, so that no mark
    deceives it. Left out is what would make it wrong, or the run's last check:

    - a node at creation: nobody is asked, and a maximum is exceeded with every right;
    - a phase of Succeeded or Failed that is taken back: a pod that has freed its slot lives again;
    - finalizers: the pods would outlive the namespace;
    - marks of bound pods: they move where a pod counts (docs/security.md), so that the unit it is
      really in takes one more.
    """

    def _change(self) -> None:
        chance = self._chance
        pods = f"/api/v1/namespaces/{self._namespace}/pods"
        own = [pod for pod in self._api.pods(self._namespace) if _is_hostile(pod) and is_live(pod)]
        if len(own) < chance.randrange(_MOST + 1) or not own:
            self._count += 1
            body = _pod(chance, self._namespace, self._count)
            self._send("POST", pods, encoded(body))
            return
        pod = chance.choice(own)
        path = f"{pods}/{pod['metadata']['name']}"
        match chance.randrange(5):
            case 0 | 1:
                managed = {"metadata": {"managedFields": [_managed(chance)]}}
                self._send("PATCH", path, encoded(managed), MERGE)
            case 2 | 3 if not node_of(pod):
                # Names the version: it may be bound by now.
                version = pod["metadata"]["resourceVersion"]
                marks = {"resourceVersion": version, "annotations": _marks(chance, version)}
                self._api.merge(path, {"metadata": marks})
            case _:
                self._api.request("DELETE", path, {"gracePeriodSeconds": chance.choice([0, 1])})

    def _send(self, method: str, path: str, body: bytes, kind: str = "application/json") -> None:
        """What may be nested deeper than Python's own encoder writes."""
        status, _ = self._api.send(method, path, body, kind)
        if status >= 300:
            raise ApiFailureError(f"{method} {path}", status)


def remove_unplaceable(api: Api, namespace: str) -> None:
    """Pods that fit nowhere: the others are part of the load. Raises ApiFailureError."""
    for pod in api.pods(namespace):
        name = pod["metadata"]["name"]
        if name.startswith(_NEVER):
            path = f"/api/v1/namespaces/{namespace}/pods/{name}"
            api.request("DELETE", path, {"gracePeriodSeconds": 0})


def _is_hostile(pod: Object) -> bool:
    return str(pod["metadata"]["name"]).startswith((_ODD, _NEVER))


def _pod(chance: Random, namespace: str, number: int) -> Object:
    large = chance.random() < 0.2
    name = f"{_NEVER if large else _ODD}{number}"
    body = scenes.pod(namespace, name, "spillover-scheduler", labels=LOAD, gpus=0)
    resource = chance.choice(("cpu", "memory"))
    asked = {resource: chance.choice(_LARGE if large else _SMALL)}
    body["spec"]["containers"][0]["resources"] = {"requests": asked}
    body["metadata"]["annotations"] = _marks(chance, "1000")
    if chance.random() < 0.2:
        body["metadata"]["annotations"]["huge"] = chance.choice(("h", "\u00e9", '"')) * 90_000
    if chance.random() < 0.5:
        body["metadata"]["managedFields"] = [_managed(chance)]
    return body


def _marks(chance: Random, version: str) -> Object:
    """Forged. An epoch is a version: also those that the next leader may have."""
    soon = str(int(version) + chance.randrange(200))
    marks = {
        "spillover.dev/unit": chance.choice(_UNITS),
        "spillover.dev/policy": chance.choice(_POLICIES),
        "spillover.dev/epoch": chance.choice(("0", "1", "x", soon, soon, str(10**20 - 1))),
        "spillover.dev/waiting": chance.choice(_WAITS),
    }
    return {key: value for key, value in marks.items() if chance.random() < 0.5}


def _managed(chance: Random) -> Object:
    return {
        "manager": "m",
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsV1": f"deep:{chance.choice(('fields', 'keys'))}:{chance.choice(_DEPTHS)}",
    }
