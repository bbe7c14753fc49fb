"""The predictive autoscaler's accounts have the rights that they use, and no others."""

from typing import Any

import yaml

from ahpa.conftest import Place
from ahpa.objects import ahpa, hpa
from ahpa.site import OVERLAY, Site
from harness import scenes
from harness.rights import Right, granted, used

Object = dict[str, Any]

ACCOUNTS = ("spillover-ahpa", "spillover-ahpa-certificates")


def rights(site: Site) -> tuple[set[Right], set[Right]]:
    """What is granted, and what is used."""
    objects = list(yaml.safe_load_all(site.cluster.kubectl("kustomize", str(OVERLAY))))
    return granted(objects, of_subject), used(site.cluster, of_user)


def of_subject(subject: Object) -> str:
    return str(subject["name"]) if subject["name"] in ACCOUNTS else ""


def of_user(user: Object) -> str:
    name = str(user["username"].rpartition(":")[2])
    return name if name in ACCOUNTS else ""


def test_each_right_is_used(place: Place) -> None:
    """Each kind is scaled, an HPA's minimum is moved, and something is told."""
    cluster = place.site.cluster
    labels = {"app": "other"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": scenes.pod_spec("default-scheduler", gpus=0),
        },
    }
    named = {"namespace": place.namespace}
    cluster.apply(
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {**named, "name": "set"},
         "spec": {**spec, "serviceName": "set"}},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {**named, "name": "replicas"},
         "spec": spec},
        hpa(place.namespace, "held", "held", 1),
    )  # fmt: skip
    values = {"set-0": 90.0, "replicas-abcde": 90.0}
    for name in ("plain", "held"):
        values[f"{place.deploy(name, 1)}-abcde"] = 90.0
    place.site.exporter.set(place.namespace, values)
    targets = (
        ("Deployment", "plain", "apps/v1"), ("StatefulSet", "set", "apps/v1"),
        ("ReplicaSet", "replicas", "apps/v1"),
        ("HorizontalPodAutoscaler", "held", "autoscaling/v2"),
    )  # fmt: skip
    with place.site.prometheus():
        for kind, name, version in targets:
            target = {"apiVersion": version, "kind": kind, "name": name}
            cluster.apply(
                ahpa(
                    place.namespace, name, name, scaleStrategy="auto", minReplicas=1,
                    scaleTargetRef=target,
                )
            )  # fmt: skip

        def all_used() -> bool:
            return not set.difference(*rights(place.site))

        try:
            place.site.until(all_used, 60, "every right is used")
        except TimeoutError:
            unused = sorted(set.difference(*rights(place.site)))
            raise AssertionError(f"granted and not used: {unused}") from None
    refused = [
        (entry["user"]["username"], entry["verb"], entry["requestURI"])
        for entry in cluster.requests()
        if entry["responseStatus"]["code"] == 403
        and of_user(entry["user"])
        # An Event in a namespace that goes with its test is nobody's lack of rights.
        and "being terminated" not in entry["responseStatus"].get("message", "")
    ]
    assert refused == []
