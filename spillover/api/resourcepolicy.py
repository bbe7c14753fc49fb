"""The parts that both dialects of ResourcePolicy share: the object around the spec, and parsing."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from spillover.api import bounds
from spillover.api.errors import FieldError, field_path

_LONGEST = 200
"""Most characters of a label that is repeated in an error."""


class Wire(BaseModel):
    """A part of a policy as users write it. Unknown fields are kept, wrong types are errors, and
    `null` means absent, as for the API server."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="allow", strict=True, frozen=True, serialize_by_alias=True
    )


class PolicySpec(Wire):
    """What the specs of both dialects begin with."""

    selector: dict[str, str] | None = Field(
        None,
        description="Pods of the policy's namespace with all these labels. Empty or absent: every "
        "pod of the namespace.",
    )


Spec = TypeVar("Spec", bound=PolicySpec)


class ResourcePolicyObject(Wire, Generic[Spec]):
    """`metadata` stays raw: the API server has checked it."""

    metadata: dict[str, Any]
    spec: Spec


def _selector_problem(selector: object) -> str:
    """Workloads have selectors of another shape, and their users write the same here."""
    if not isinstance(selector, Mapping):
        return ""
    labels = selector.get("matchLabels")
    if isinstance(labels, Mapping) or isinstance(selector.get("matchExpressions"), list):
        example = ", ".join(f"{key}: {value}" for key, value in islice(_pairs(labels), 3))
        return (
            "is a plain map of labels, without matchLabels and matchExpressions: write"
            f" selector: {{{example or 'app: web'}}}"
        )
    return ""


def _pairs(labels: object) -> Iterator[tuple[str, str]]:
    for key, value in labels.items() if isinstance(labels, Mapping) else ():
        if isinstance(key, str) and isinstance(value, str) and len(key) + len(value) < _LONGEST:
            yield key, value


Object = TypeVar("Object", bound=BaseModel)


def parse(model: type[Object], raw: Mapping[str, Any]) -> Object | list[FieldError]:
    """Returns the typed object or its errors, at most 20. Never raises on bad input. Does not parse
    a spec with a part that is too large."""
    spec = raw.get("spec")
    if too_large := bounds.errors(spec):
        return too_large
    if isinstance(spec, Mapping) and (problem := _selector_problem(spec.get("selector"))):
        return [FieldError("spec.selector", problem)]
    try:
        return model.model_validate({"spec": {}, **raw})
    except ValidationError as error:
        found = islice(error.errors(), bounds.MOST_ERRORS)
        return sorted(FieldError(field_path(each["loc"]), each["msg"]) for each in found)
