"""AdmissionReview v1, as the API server sends it. Source: k8s.io/api/admission/v1."""

from msgspec import Raw, Struct

from spillover.api.kubernetes import PodObject, PodSpec

ABSENT = Raw(b"null")


class GroupVersionKind(Struct, frozen=True):
    group: str = ""
    version: str = ""
    kind: str = ""


class AdmissionRequest(Struct, frozen=True, rename="camel"):
    """`object` is what is to be stored, `old_object` what is stored, as they came: each handler
    reads what it needs of them. A name is empty while the API server has yet to generate it."""

    uid: str
    kind: GroupVersionKind = GroupVersionKind()
    operation: str = ""
    namespace: str = ""
    name: str = ""
    object: Raw = ABSENT
    old_object: Raw = ABSENT
    dry_run: bool | None = None


class AdmittedSpec(PodSpec, frozen=True, rename="camel"):
    node_selector: dict[str, str] | None = None


class AdmittedObject(PodObject, frozen=True):
    """What admission reads of a pod."""

    spec: AdmittedSpec


class AdmissionReview(Struct, frozen=True, rename="camel"):
    request: AdmissionRequest
    api_version: str
    kind: str


class AdmissionStatus(Struct, frozen=True, omit_defaults=True):
    """Why something is refused: `kubectl` prints the message."""

    message: str = ""
    code: int = 0
    reason: str = ""


class AdmissionResponse(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`patch` is a JSONPatch in base64; msgspec writes bytes so. `allowed` is always written."""

    uid: str
    allowed: bool
    patch: bytes | None = None
    patch_type: str | None = None
    status: AdmissionStatus | None = None
    warnings: list[str] | None = None


class AdmissionAnswer(Struct, frozen=True, rename="camel"):
    response: AdmissionResponse
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"
