"""The objects of KubeAdmiral, as far as the stand-in reads and writes them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from federation.planning import Counts

Object = dict[str, Any]

GROUP = "core.kubeadmiral.io"
API = f"/apis/{GROUP}/v1alpha1"
POLICY_LABEL = "kubeadmiral.io/propagation-policy-name"
OVERRIDE_LABEL = "kubeadmiral.io/override-policy-name"
MANAGED_LABEL = "kubeadmiral.io/managed"
SCHEDULING = "kubeadmiral.io/scheduling"
TRIGGERS = "kubeadmiral.io/scheduling-triggers"
PENDING = "kubeadmiral.io/pending-controllers"
MIGRATION_INFO = "kubeadmiral.io/auto-migration-info"
MIGRATION = "kubeadmiral.io/migration-configuration"
APPLIED_MIGRATION = "kubeadmiral.io/applied-migration-configuration"
SOURCE_GENERATION = "kubeadmiral.io/source-generation"
GLOBAL_SCHEDULER = "kubeadmiral.io/global-scheduler"
OVERRIDES = "kubeadmiral.io/overridepolicy-controller"
_KINDS = {
    "federatedobjects": ("FederatedObject", "Namespaced"),
    "propagationpolicies": ("PropagationPolicy", "Namespaced"),
    "overridepolicies": ("OverridePolicy", "Namespaced"),
    "federatedclusters": ("FederatedCluster", "Cluster"),
}


class OverrideError(Exception):
    """A patch of an OverridePolicy does not apply to the template."""


def crds() -> list[Object]:
    """Definitions of our own that store whatever is written."""
    return [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "scope": scope,
                "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                "versions": [
                    {
                        "name": "v1alpha1",
                        "served": True,
                        "storage": True,
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            }
                        },
                    }
                ],
            },
        }
        for plural, (kind, scope) in _KINDS.items()
    ]


def annotations(found: Object) -> dict[str, str]:
    """The object's own: changes of them are changes of the object."""
    own: dict[str, str] = found["metadata"].setdefault("annotations", {})
    return own


def key_of(found: Mapping[str, Any]) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def fingerprint(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def template_of(source: Object) -> Object:
    """What a FederatedObject keeps of its source."""
    own = {
        name: value
        for name, value in annotations(source).items()
        if not name.startswith(("kubeadmiral.io/", "kubectl.kubernetes.io/"))
    }
    labels = {
        name: value
        for name, value in (source["metadata"].get("labels") or {}).items()
        if not name.startswith("kubeadmiral.io/")
    }
    return {
        "apiVersion": source["apiVersion"],
        "kind": source["kind"],
        "metadata": {
            "name": source["metadata"]["name"],
            "namespace": source["metadata"]["namespace"],
            "generation": source["metadata"]["generation"],
            "annotations": own,
            "labels": labels,
        },
        "spec": source["spec"],
    }


def patches_of(policy: Object | None, template: Object, cluster: str) -> list[Object]:
    """The JSON patches of an OverridePolicy for a cluster. Raises OverrideError."""
    found: list[Object] = []
    for rule in (policy or {}).get("spec", {}).get("overrideRules", ()):
        targets = rule.get("targetClusters", {}).get("clusters")
        if targets is not None and cluster not in targets:
            continue
        for each in rule.get("overriders", {}).get("jsonpatch", ()):
            patch = {"op": each.get("operator", "replace"), "path": each["path"]}
            found.append({**patch, **({"value": each["value"]} if "value" in each else {})})
    patched(template, found)
    return found


def patched(template: Object, patches: list[Object]) -> Object:
    """A copy of the template with the patches (add and replace). Raises OverrideError."""
    copy: Object = json.loads(json.dumps(template))
    for patch in patches:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in patch["path"].split("/")[1:]
        ]
        there: Any = copy
        for part in parents:
            there = there.get(part) if isinstance(there, dict) else None
        if not isinstance(there, dict):
            raise OverrideError(f"{patch['op']} {patch['path']}: the parent does not exist")
        there[last] = patch["value"]
    return copy


def limits_of(source: Object) -> dict[str, int] | None:
    """`limitedCapacity` by cluster of the source's migration configuration. None where the
    annotation is not valid: what was applied before stays."""
    text = annotations(source).get(MIGRATION)
    if text is None:
        return {}
    try:
        migrations = json.loads(text)["replicasMigrations"]
        found = {each["cluster"]: each["limitedCapacity"] for each in migrations}
    except (ValueError, KeyError, TypeError):
        return None
    if len(found) < len(migrations) or not all(isinstance(each, int) for each in found.values()):
        return None
    return found if all(each >= 0 for each in found.values()) else None


def placement_of(federated: Object) -> dict[str, int]:
    """The replicas of each cluster."""
    for each in federated["spec"].get("overrides", ()):
        if each["controller"] == GLOBAL_SCHEDULER:
            return {of["cluster"]: of["patches"][0]["value"] for of in each["clusters"]}
    return {}


def with_placement(
    federated: Object, placement: Counts, patches: Mapping[str, list[Object]]
) -> None:
    """Writes where the workload runs, and how it differs there, into the FederatedObject."""
    replicas = {
        cluster: [{"op": "replace", "path": "/spec/replicas", "value": number}]
        for cluster, number in placement.items()
    }
    federated["spec"]["placements"] = [
        {
            "controller": GLOBAL_SCHEDULER,
            "placement": [{"cluster": cluster} for cluster in sorted(placement)],
        }
    ]
    federated["spec"]["overrides"] = [
        {
            "controller": controller,
            "clusters": [
                {"cluster": cluster, "patches": by_cluster[cluster]}
                for cluster in sorted(placement)
                if by_cluster.get(cluster)
            ],
        }
        for controller, by_cluster in ((GLOBAL_SCHEDULER, replicas), (OVERRIDES, patches))
    ]
