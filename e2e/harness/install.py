"""Spillover on a cluster that runs containers: its manifests as they are, applied with kubectl."""

import json
import time
from pathlib import Path

from harness.client import Client, ClusterError, Object
from harness.places import MANIFESTS
from harness.watch import is_ready

NAMESPACE = "spillover-system"
DEPLOYMENTS = ("certificates", "scheduler", "webhook")
READY_SECONDS = 240


def apply(client: Client, folder: Path = MANIFESTS) -> str:
    """`folder` has a kustomization.yaml. Returns what kubectl said."""
    return client.kubectl("apply", "-k", str(folder))


def scale(client: Client, component: str, replicas: int) -> None:
    client.kubectl(
        "scale", f"deployment/spillover-{component}", "-n", NAMESPACE, f"--replicas={replicas}"
    )


def wait_ready(client: Client) -> None:
    """Until every Pod of both Deployments is ready. Raises ClusterError."""
    for component in DEPLOYMENTS:
        client.kubectl(
            "rollout", "status", f"deployment/spillover-{component}", "-n", NAMESPACE,
            f"--timeout={READY_SECONDS}s", seconds=READY_SECONDS + 30,
        )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        # A Deployment's status may be older than what has just been done to its Pods.
        while not _all_ready(client, component):
            if time.monotonic() > deadline:
                raise ClusterError(f"the Pods of {component} are not ready")
            time.sleep(0.1)


def _all_ready(client: Client, component: str) -> bool:
    text = client.kubectl("get", f"deployment/spillover-{component}", "-n", NAMESPACE, "-o", "json")
    found = pods(client, component)
    return len(found) == json.loads(text)["spec"]["replicas"] and all(map(is_ready, found))


def pods(client: Client, component: str) -> list[Object]:
    """Those of one Deployment that are not being deleted."""
    found = client.items("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={component}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def leader(client: Client) -> str:
    """The name of the scheduler's Pod that holds the Lease; empty if none does."""
    text = client.kubectl(
        "get", "lease", "spillover-scheduler", "-n", NAMESPACE, "-o", "json", check=False
    )
    holder = json.loads(text)["spec"].get("holderIdentity") or "" if text else ""
    return str(holder).partition("_")[0]
