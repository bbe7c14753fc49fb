"""The CustomResourceDefinitions of both dialects, generated from their wire types.

The schemas contain only types, bounds and descriptions. With stricter schemas, the API server would
refuse a policy for one error at a time, while the webhook explains all errors at once. The schemas
keep unknown fields at every level of `spec`, because vendors have fields that Spillover does not
know. Unknown fields outside `spec` and `status` are dropped: no vendor's YAML has fields there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from spillover.api import ack, bounds, vke


@dataclass(frozen=True, slots=True)
class Limits:
    """The sizes of lists and texts, by the name of the field. A text may be in a map."""

    lists: Mapping[str, int] = field(default_factory=lambda: bounds.LISTS)
    """Most items."""
    texts: Mapping[str, int] = field(
        default_factory=lambda: {
            "name": bounds.LONGEST_NAME,
            "podAnnotations": bounds.LONGEST_ANNOTATION,
        }
    )
    """Most characters; others have at most `bounds.LONGEST_TEXT`."""


PRESERVE = "x-kubernetes-preserve-unknown-fields"
_ANSWERED_BY_WEBHOOK = "selector"
"""The field whose values have no type. With a type, the API server would answer the frequent
`selector: {matchLabels: ...}` with "unknown field". The webhook says what to write instead."""


def _counts(**fields: str) -> dict[str, Any]:
    return {name: {"type": "integer", "description": text} for name, text in fields.items()}


CONDITION = {
    "type": "object",
    "description": "One condition.",
    PRESERVE: True,
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "description": "Name of the condition."},
        "status": {"type": "string", "description": "True, False or Unknown."},
        "reason": {"type": "string", "description": "Cause as one CamelCase word."},
        "message": {"type": "string", "description": "Cause as a sentence."},
        "lastTransitionTime": {
            "type": "string",
            "format": "date-time",
            "description": "When the status last changed.",
        },
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The metadata.generation that it describes.",
        },
    },
}
"""Schema of one condition of a status."""

_UNIT_STATUS = {
    "type": "object",
    "description": "How full one unit is.",
    PRESERVE: True,
    "properties": {
        "name": {"type": "string", "description": "The unit's name, or a description."},
        **_counts(
            assigned="Pods bound to the unit, excluding terminating ones.",
            pending="Assigned pods in phase Pending: they are starting.",
            ready="Assigned pods that are ready.",
            terminating="Terminating pods of the unit.",
            used="Pods that count against max.",
            max="Maximum number of pods now; absent: no limit. Of each group of matchLabelKeys.",
            free="Pods that the unit can still take; absent without max or with matchLabelKeys.",
        ),
        "maxResources": {
            "type": "object",
            "description": "Maximum sum of the pods' requests, by resource.",
            "additionalProperties": {"type": "string"},
        },
        "usedResources": {
            "type": "object",
            "description": "Sum of the requests of pods that count, by resource.",
            "additionalProperties": {"type": "string"},
        },
    },
}
_STATUS = {
    "type": "object",
    "description": "What Spillover found: counts per unit and conditions.",
    PRESERVE: True,
    "properties": {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The metadata.generation that this status describes.",
        },
        "strategy": {"type": "string", "description": "The strategy in force."},
        **_counts(
            unitCount="Number of units of the policy.",
            pods="Live pods of the policy, excluding terminating ones.",
            pending="Live pods in phase Pending: without a node, or starting.",
            unscheduled="Live pods without a node.",
            ready="Live pods that are ready.",
            terminating="Terminating pods of the policy.",
            outside="Live pods on nodes that belong to no unit.",
        ),
        "fill": {
            "type": "string",
            "description": "Pods and maximum of each unit, as one line of text.",
        },
        "units": {
            "type": "array",
            "description": "The units, in the order of the policy.",
            "items": _UNIT_STATUS,
        },
        "conditions": {
            "type": "array",
            "description": "Ready, Invalid, Conflict, PodsNotRouted, LabelsKept, OwnDeletionCost, "
            "BindingRefused, EditsWait, Crowded.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": CONDITION,
        },
    },
}

_Column = tuple[str, str, str, str, int]
_COLUMNS: list[_Column] = [
    ("Strategy", "string", ".status.strategy", "What follows when all units are exhausted.", 0),
    ("Units", "integer", ".status.unitCount", "Number of units.", 0),
    ("Pods", "integer", ".status.pods", "Live pods of the policy.", 0),
    ("Pending", "integer", ".status.pending", "Pods without a node, or starting.", 0),
    ("Ready", "integer", ".status.ready", "Pods that are ready.", 0),
    ("Unscheduled", "integer", ".status.unscheduled", "Pods without a node.", 1),
    ("Fill", "string", ".status.fill", "Pods and maximum of each unit.", 1),
    (
        "In-Force",
        "string",
        '.status.conditions[?(@.type=="Ready")].reason',
        "Whether the policy places pods.",
        1,
    ),
]


def ack_crd() -> dict[str, Any]:
    """scheduling.alibabacloud.com/v1alpha1."""
    description = "The order in which pods fill capacity units, in the dialect of ACK."
    return _crd(ack.GROUP, ack.VERSION, ack.Spec, description, "ackrp")


def vke_crd() -> dict[str, Any]:
    """scheduling.vke.volcengine.com/v1beta1."""
    description = "The order in which pods fill capacity units, in the dialect of VKE."
    return _crd(vke.GROUP, vke.VERSION, vke.Spec, description, "vkerp")


def _crd(
    group: str,
    version: str,
    spec: type[BaseModel],
    description: str,
    short_name: str,
) -> dict[str, Any]:
    schema = spec.model_json_schema()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"resourcepolicies.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": "ResourcePolicy",
                "listKind": "ResourcePolicyList",
                "plural": "resourcepolicies",
                "singular": "resourcepolicy",
                "shortNames": [short_name],
                "categories": ["spillover"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {
                            "name": name,
                            "type": kind,
                            "jsonPath": path,
                            "description": text,
                            "priority": priority,
                        }
                        for name, kind, path, text, priority in _COLUMNS
                    ]
                    + [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": description,
                            "properties": {
                                "spec": {
                                    **structural("spec", schema, schema.get("$defs", {})),
                                    "description": "What the user wants.",
                                },
                                "status": _STATUS,
                            },
                        }
                    },
                }
            ],
        },
    }


def structural(
    name: str,
    schema: Mapping[str, Any],
    definitions: Mapping[str, Any],
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Converts a JSON schema of pydantic to a structural schema: resolves references, removes
    `null` and defaults, and adds bounds. `name` is the name of the field."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    described = {"description": schema["description"]} if "description" in schema else {}
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    types = [choice.get("type") for choice in choices]
    if types == ["integer", "string"]:
        return {"x-kubernetes-int-or-string": True, **described}
    if types == ["integer", "number", "string"]:
        return {PRESERVE: True, **described}  # a structural schema has no such type
    if choices:
        return {**structural(name, choices[0], definitions, limits), **described}
    plain: dict[str, Any] = {"type": schema["type"], **described}
    match schema["type"]:
        case "string" if name == _ANSWERED_BY_WEBHOOK:
            return {PRESERVE: True, **described}
        case "string":
            plain["maxLength"] = limits.texts.get(name, bounds.LONGEST_TEXT)
        case "array":
            plain["maxItems"] = limits.lists[name]
            plain["items"] = structural("", schema["items"], definitions, limits)
        case "object" if "properties" in schema:
            plain[PRESERVE] = True
            plain["properties"] = {
                field: structural(field, part, definitions, limits)
                for field, part in schema["properties"].items()
            }
        case "object":
            plain["maxProperties"] = bounds.MOST_PAIRS
            plain["additionalProperties"] = structural(
                name, schema["additionalProperties"], definitions, limits
            )
    return plain
