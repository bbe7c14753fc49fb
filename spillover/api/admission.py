"""AdmissionReview v1, as the API server sends it. Source: k8s.io/api/admission/v1."""

from msgspec import Raw, Struct

from spillover.api.kubernetes import PodObject, PodSpec

ABSENT = Raw(b"null")


class GroupVersionKind(Struct, frozen=True):
    group: str = ""
    version: str = ""
    kind: str = ""


class AdmissionRequest(Struct, frozen=True, rename="camel"):
    """One question of the API server."""

    uid: str
    kind: GroupVersionKind = GroupVersionKind()
    operation: str = ""
    namespace: str = ""
    name: str = ""
    """Empty while the API server has not generated the name yet."""
    object: Raw = ABSENT
    """The object to store, not decoded. Each handler decodes the fields that it needs."""
    old_object: Raw = ABSENT
    """The object that is stored now, not decoded."""
    dry_run: bool | None = None


class AdmittedSpec(PodSpec, frozen=True, rename="camel"):
    node_selector: dict[str, str] | None = None


class AdmittedObject(PodObject, frozen=True):
    """The fields of a pod that admission reads."""

    spec: AdmittedSpec


class AdmissionReview(Struct, frozen=True, rename="camel"):
    request: AdmissionRequest
    api_version: str
    kind: str


class AdmissionStatus(Struct, frozen=True, omit_defaults=True):
    """Why a request is refused. `kubectl` prints the message."""

    message: str = ""
    code: int = 0
    reason: str = ""


class AdmissionResponse(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to an AdmissionRequest."""

    uid: str
    allowed: bool
    """Has no default, so that msgspec always writes it."""
    patch: bytes | None = None
    """A JSONPatch. msgspec writes bytes in base64."""
    patch_type: str | None = None
    status: AdmissionStatus | None = None
    warnings: list[str] | None = None


class AdmissionAnswer(Struct, frozen=True, rename="camel"):
    response: AdmissionResponse
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"
