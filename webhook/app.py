"""The webhook's HTTP interface: four paths for the API server.

An AdmissionReview that can be read always gets an AdmissionReview as its answer. Any other request
gets a 4xx and `{"error": reason}`. Until the first lists are complete, the answer is a 503. What
the API server then does is the failurePolicy of the webhook configurations. Probes and metrics have
their own port.
"""

import re
from collections.abc import Awaitable, Callable, Collection

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from spillover.api.admission import (
    AdmissionAnswer,
    AdmissionRequest,
    AdmissionResponse,
    AdmissionReview,
)
from spillover.api.partial import is_deep, shallow
from spillover.kube.readiness import Readiness
from spillover.serving.requests import (
    UNDECODABLE,
    Handler,
    client_name,
    decoded,
    errors_as_json,
    json_answer,
)
from webhook.admitting import Admitting
from webhook.metrics import Metrics
from webhook.reviewing import Reviewing

LARGEST_REQUEST = 8 * 2**20
"""In bytes: two objects of at most 1.5 MiB each in etcd, and the overhead of their encoding."""

LARGEST_DEEP_REQUEST = 4 * 2**20
"""In bytes. A request that is nested too deep for a decoder is scanned in the event loop."""

READ_SECONDS = 3.0
HOLD_SECONDS = 1.0
"""READ_SECONDS and HOLD_SECONDS must fit into timeoutSeconds, which is 5 in the configurations."""

Answer = Callable[[AdmissionRequest, bool], Awaitable[AdmissionResponse]]
"""The bool tells whether the new object is nested too deep to be read as a whole."""

_REVIEWS = msgspec.json.Decoder(AdmissionReview)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VERSION = ("admission.k8s.io/v1", "AdmissionReview")


def admission_app(
    admitting: Admitting,
    reviewing: Reviewing,
    ready: Readiness,
    metrics: Metrics,
    client_names: Collection[str] = (),
) -> web.Application:
    """The application that serves the API server, over TLS. Only clients with a common name in
    `client_names` get an answer. If it is empty, every client does."""

    async def pods(request: AdmissionRequest, _: bool) -> AdmissionResponse:
        return admitting.admit(request)

    async def policies(request: AdmissionRequest, deep: bool) -> AdmissionResponse:
        try:
            return await reviewing.policy(request, is_deep=deep)
        except UNDECODABLE as error:
            raise web.HTTPBadRequest(text=f"request: not an object: {error}") from error

    async def autoscalers(request: AdmissionRequest, deep: bool) -> AdmissionResponse:
        try:
            return reviewing.autoscaler(request, is_deep=deep)
        except UNDECODABLE as error:
            raise web.HTTPBadRequest(text=f"request: not an object: {error}") from error

    async def workloads(request: AdmissionRequest, _: bool) -> AdmissionResponse:
        return reviewing.workload(request)

    paths: dict[str, Answer] = {
        "/mutate/pods": pods,
        "/validate/policies": policies,
        "/validate/workloads": workloads,
        "/validate/autoscalers": autoscalers,
    }
    app = web.Application(
        client_max_size=LARGEST_REQUEST, middlewares=[errors_as_json, _clients(client_names)]
    )
    app.add_routes(
        [web.post(path, _handler(path, answer, ready, metrics)) for path, answer in paths.items()]
    )
    return app


def _clients(names: Collection[str]) -> Middleware:
    @web.middleware
    async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
        if names and client_name(request) not in names:
            raise web.HTTPForbidden(text="the client's certificate has another common name")
        return await handler(request)

    return admitted


def _handler(path: str, answer: Answer, ready: Readiness, metrics: Metrics) -> Handler:
    seconds = metrics.seconds.labels(path)

    async def handle(http: web.Request) -> web.Response:
        with seconds.time():
            review, deep = await _decoded(http)
            if not await ready.synced(HOLD_SECONDS):
                raise web.HTTPServiceUnavailable(text="the first lists are not complete")
            response = await answer(review.request, deep)
        outcome = "refused" if not response.allowed else "patched" if response.patch else "allowed"
        metrics.reviews.labels(path, outcome).inc()
        return json_answer(AdmissionAnswer(response))

    return handle


async def _decoded(http: web.Request) -> tuple[AdmissionReview, bool]:
    """Returns the review, and whether its new object is nested so deep that parts of it are left
    out. These parts contain no field that Spillover knows. The depth of the old object does not
    count: an update or deletion may repair it."""
    deep = False
    try:
        try:
            review = await decoded(http, _REVIEWS, READ_SECONDS)
        except RecursionError:
            body = await http.read()
            if len(body) > LARGEST_DEEP_REQUEST:
                raise web.HTTPRequestEntityTooLarge(LARGEST_DEEP_REQUEST, len(body)) from None
            review, deep = _REVIEWS.decode(shallow(body)), is_deep(body, b"object")
    except UNDECODABLE as error:
        raise web.HTTPBadRequest(text=f"AdmissionReview: {error}") from error
    if (review.api_version, review.kind) != _VERSION:
        raise web.HTTPBadRequest(text=f"apiVersion and kind must be {' '.join(_VERSION)}")
    namespace = review.request.namespace  # becomes part of a path
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise web.HTTPBadRequest(text=f"request.namespace: {namespace[:80]!r} is no namespace")
    return review, deep
