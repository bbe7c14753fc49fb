"""The CustomResourceDefinitions of both dialects, made from their wire types.

Schemas carry types and descriptions only, and keep unknown fields at every level: the API server
would otherwise refuse, one error at a time, what the webhook explains, and fields of the vendors
that we do not know.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from spillover.api import ack, vke

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
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
        "conditions": {
            "type": "array",
            "description": "Ready, Conflict and Invalid, as usual in Kubernetes.",
            "items": {
                "type": "object",
                "description": "One condition.",
                _PRESERVE: True,
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


def ack_crd() -> dict[str, Any]:
    """scheduling.alibabacloud.com/v1alpha1."""
    columns = [
        ("Strategy", "string", ".spec.strategy", "How units are used.", 0),
        *_unit_columns(".spec.units", "resource", "max"),
        ("Advance", "string", ".spec.whenTryNextUnits.policy", "When the next is tried.", 1),
    ]
    description = "The order in which pods fill capacity units, in the dialect of ACK."
    return _crd(ack.GROUP, ack.VERSION, ack.Spec, description, columns)


def vke_crd() -> dict[str, Any]:
    """scheduling.vke.volcengine.com/v1beta1."""
    columns = [
        ("Strategy", "string", ".spec.strategy", "What follows when all are exhausted.", 0),
        *_unit_columns(".spec.subsets", "name", "maxReplicas"),
    ]
    description = "The order in which pods fill capacity units, in the dialect of VKE."
    return _crd(vke.GROUP, vke.VERSION, vke.Spec, description, columns)


def _unit_columns(units: str, name: str, limit: str) -> list[tuple[str, str, str, str, int]]:
    """Name and maximum of the first three units: a printer column shows one value only."""
    return [
        column
        for index, ordinal in enumerate(("First", "Second", "Third"))
        for column in (
            (ordinal, "string", f"{units}[{index}].{name}", f"{ordinal} unit to be filled.", 0),
            (f"{ordinal}-Max", "integer", f"{units}[{index}].{limit}", "Most pods in it.", 0),
        )
    ]


def _crd(
    group: str,
    version: str,
    spec: type[BaseModel],
    description: str,
    columns: list[tuple[str, str, str, str, int]],
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
                        for name, kind, path, text, priority in columns
                    ]
                    + [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": description,
                            _PRESERVE: True,
                            "properties": {
                                "spec": {
                                    **_structural(schema, schema.get("$defs", {})),
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


def _structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema as pydantic writes it, as a structural schema: references put in their place,
    `null` and defaults left out."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = {**definitions[name], **schema}
    described = {"description": schema["description"]} if "description" in schema else {}
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if [choice.get("type") for choice in choices] == ["integer", "string"]:
        return {"x-kubernetes-int-or-string": True, **described}
    if choices:
        return {**_structural(choices[0], definitions), **described}
    plain: dict[str, Any] = {"type": schema["type"], **described}
    if schema["type"] == "array":
        plain["items"] = _structural(schema["items"], definitions)
    elif "properties" in schema:
        plain[_PRESERVE] = True
        plain["properties"] = {
            name: _structural(part, definitions) for name, part in schema["properties"].items()
        }
    elif schema["type"] == "object":
        plain["additionalProperties"] = _structural(schema["additionalProperties"], definitions)
    return plain
