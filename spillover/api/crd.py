"""The CustomResourceDefinitions of both dialects, made from their wire types.

Schemas carry types, bounds and descriptions only, and keep unknown fields at every level of `spec`:
the API server would otherwise refuse, one error at a time, what the webhook explains, and fields of
the vendors that we do not know. Beside `spec` and `status` no vendor's YAML has a field: there,
unknown ones are dropped.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from spillover.api import ack, bounds, vke

_LONGEST = {"name": bounds.LONGEST_NAME, "podAnnotations": bounds.LONGEST_ANNOTATION}
"""Of strings, by the name of the field that they are or stand in."""
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def _counts(**fields: str) -> dict[str, Any]:
    return {name: {"type": "integer", "description": text} for name, text in fields.items()}


_UNIT_STATUS = {
    "type": "object",
    "description": "How full one unit is.",
    _PRESERVE: True,
    "properties": {
        "name": {"type": "string", "description": "The unit: its name, or what it is."},
        **_counts(
            assigned="Pods bound to the unit, those apart that are being deleted.",
            pending="Of these, those whose phase is Pending: they are starting.",
            ready="Of these, those that are ready.",
            terminating="Pods of the unit that are being deleted.",
            used="What counts against max.",
            max="Most pods in the unit now; absent: no limit. For each group with matchLabelKeys.",
            free="How many more pods the unit takes; absent without max or with matchLabelKeys.",
        ),
        "maxResources": {
            "type": "object",
            "description": "Most summed requests, by resource.",
            "additionalProperties": {"type": "string"},
        },
        "usedResources": {
            "type": "object",
            "description": "What counts against maxResources.",
            "additionalProperties": {"type": "string"},
        },
    },
}
_STATUS = {
    "type": "object",
    "description": "What Spillover found: counts per unit and conditions.",
    _PRESERVE: True,
    "properties": {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The metadata.generation that this status speaks of.",
        },
        "strategy": {"type": "string", "description": "The strategy in force."},
        **_counts(
            unitCount="How many units the policy has.",
            pods="Live pods under the policy, those apart that are being deleted.",
            pending="Of these, those whose phase is Pending: without a node, or starting.",
            unscheduled="Of these, those without a node.",
            ready="Of these, those that are ready.",
            terminating="Pods that are being deleted.",
            outside="Pods bound to nodes of no unit.",
        ),
        "fill": {"type": "string", "description": "Pods and maximum of each unit, for people."},
        "units": {
            "type": "array",
            "description": "The units, in the order of the policy.",
            "items": _UNIT_STATUS,
        },
        "conditions": {
            "type": "array",
            "description": "Ready, Invalid, Conflict and OwnDeletionCost.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "description": "One condition.",
                _PRESERVE: True,
                "required": ["type"],
                "properties": {
                    "type": {"type": "string", "description": "Name of the condition."},
                    "status": {"type": "string", "description": "True, False or Unknown."},
                    "reason": {"type": "string", "description": "Cause, as one CamelCase word."},
                    "message": {"type": "string", "description": "Cause, for people."},
                    "lastTransitionTime": {
                        "type": "string",
                        "format": "date-time",
                        "description": "When the status last changed.",
                    },
                    "observedGeneration": {
                        "type": "integer",
                        "format": "int64",
                        "description": "The metadata.generation that the condition speaks of.",
                    },
                },
            },
        },
    },
}

_Column = tuple[str, str, str, str, int]
_COLUMNS: list[_Column] = [
    ("Strategy", "string", ".status.strategy", "What follows when all units are exhausted.", 0),
    ("Units", "integer", ".status.unitCount", "How many units there are.", 0),
    ("Pods", "integer", ".status.pods", "Live pods under the policy.", 0),
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
    return _crd(ack.GROUP, ack.VERSION, ack.Spec, description)


def vke_crd() -> dict[str, Any]:
    """scheduling.vke.volcengine.com/v1beta1."""
    description = "The order in which pods fill capacity units, in the dialect of VKE."
    return _crd(vke.GROUP, vke.VERSION, vke.Spec, description)


def _crd(
    group: str,
    version: str,
    spec: type[BaseModel],
    description: str,
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
                                    **_structural("spec", schema, schema.get("$defs", {})),
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


def _structural(
    name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> dict[str, Any]:
    """A JSON schema as pydantic writes it, as a structural schema: references put in their place,
    `null` and defaults left out, bounds added. `name` is the field's."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    described = {"description": schema["description"]} if "description" in schema else {}
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if [choice.get("type") for choice in choices] == ["integer", "string"]:
        return {"x-kubernetes-int-or-string": True, **described}
    if choices:
        return {**_structural(name, choices[0], definitions), **described}
    plain: dict[str, Any] = {"type": schema["type"], **described}
    match schema["type"]:
        case "string":
            plain["maxLength"] = _LONGEST.get(name, bounds.LONGEST_TEXT)
        case "array":
            plain["maxItems"] = bounds.LISTS[name]
            plain["items"] = _structural("", schema["items"], definitions)
        case "object" if "properties" in schema:
            plain[_PRESERVE] = True
            plain["properties"] = {
                field: _structural(field, part, definitions)
                for field, part in schema["properties"].items()
            }
        case "object":
            plain["maxProperties"] = bounds.MOST_PAIRS
            plain["additionalProperties"] = _structural(
                name, schema["additionalProperties"], definitions
            )
    return plain
