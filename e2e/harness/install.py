"""Spillover on a cluster that runs containers: its manifests as they are, applied with kubectl."""

import json
from pathlib import Path

from harness.client import Client, Object
from harness.places import MANIFESTS

NAMESPACE = "spillover-system"
DEPLOYMENTS = ("scheduler", "webhook")
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
