"""Volumes whose provisioning takes long, with nobody but ourselves as the provisioner: the
scheduler waits in PreBind, between filter and bind, until the claim is bound."""

import threading
import time
from types import TracebackType
from typing import Any, Self

from faults.api import Api, ApiFailureError

Object = dict[str, Any]

CLASS = "spillover-test-slow"
_DRIVER = "slow.spillover.dev"
_SELECTED = "volume.kubernetes.io/selected-node"
_SIZE = "1Gi"
_POLL_SECONDS = 0.5


def storage_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS},
        "provisioner": _DRIVER,
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def ephemeral_volume() -> Object:
    """For a Pod's spec: a claim that comes and goes with the pod."""
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": CLASS,
        "resources": {"requests": {"storage": _SIZE}},
    }
    return {"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}


class Provisioner:
    """A context manager: claims that the scheduler has chosen a node for get a volume after some
    seconds, and volumes whose claim is gone are deleted."""

    def __init__(self, api: Api, seconds: float) -> None:
        self._api = api
        self._seconds = seconds
        self._chosen: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            try:
                self._provision()
            except ApiFailureError:
                continue  # the API server is away, or somebody was faster

    def _provision(self) -> None:
        claims: list[Object] = self._api.request("GET", "/api/v1/persistentvolumeclaims")["items"]
        volumes: list[Object] = self._api.request("GET", "/api/v1/persistentvolumes")["items"]
        there = {volume["metadata"]["name"] for volume in volumes}
        wanted = {f"pv-{claim['metadata']['uid']}" for claim in claims}
        for name in there - wanted:
            self._api.request("DELETE", f"/api/v1/persistentvolumes/{name}")
        for claim in claims:
            uid = claim["metadata"]["uid"]
            if _SELECTED not in claim["metadata"].get("annotations", {}):
                self._chosen.pop(uid, None)  # the scheduler has given it up
                continue
            since = self._chosen.setdefault(uid, time.monotonic())
            if f"pv-{uid}" not in there and time.monotonic() - since >= self._seconds:
                self._api.request("POST", "/api/v1/persistentvolumes", _volume(claim))


def _volume(claim: Object) -> Object:
    metadata = claim["metadata"]
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pv-{metadata['uid']}",
            "annotations": {"pv.kubernetes.io/provisioned-by": _DRIVER},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": _SIZE},
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": reference,
            "csi": {"driver": _DRIVER, "volumeHandle": metadata["uid"]},
        },
    }
