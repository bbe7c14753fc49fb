"""The webhook's HTTP interface: three paths for the API server, probes and metrics beside.

A review that can be read is always answered with a review; anything else gets a 4xx and
`{"error": reason}`. Before the first lists are complete the answer is a 503: the configurations say
what the API server does without us.
"""

import re
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from spillover.api.admission import (
    AdmissionAnswer,
    AdmissionRequest,
    AdmissionResponse,
    AdmissionReview,
)
from spillover.kube.readiness import Readiness
from spillover.serving.requests import (
    UNDECODABLE,
    Handler,
    decoded,
    errors_as_json,
    json_answer,
)
from webhook.admitting import Admitting
from webhook.metrics import Metrics
from webhook.reviewing import Reviewing

LARGEST_REQUEST = 8 * 2**20
"""Bytes: two objects of at most 1.5 MiB each in etcd, and what encoding adds."""

READ_SECONDS = 3.0
HOLD_SECONDS = 1.0
"""timeoutSeconds of the configurations is 5."""

Answer = Callable[[AdmissionRequest], Awaitable[AdmissionResponse]]

_REVIEWS = msgspec.json.Decoder(AdmissionReview)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VERSION = ("admission.k8s.io/v1", "AdmissionReview")


def admission_app(
    admitting: Admitting, reviewing: Reviewing, ready: Readiness, metrics: Metrics
) -> web.Application:
    """What the API server talks to, over TLS."""

    async def pods(request: AdmissionRequest) -> AdmissionResponse:
        return admitting.admit(request)

    async def policies(request: AdmissionRequest) -> AdmissionResponse:
        try:
            return await reviewing.policy(request)
        except UNDECODABLE as error:
            raise web.HTTPBadRequest(text=f"request: not an object: {error}") from error

    async def workloads(request: AdmissionRequest) -> AdmissionResponse:
        return reviewing.workload(request)

    paths: dict[str, Answer] = {
        "/mutate/pods": pods,
        "/validate/policies": policies,
        "/validate/workloads": workloads,
    }
    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[errors_as_json])
    app.add_routes(
        [web.post(path, _handler(path, answer, ready, metrics)) for path, answer in paths.items()]
    )
    return app


def _handler(path: str, answer: Answer, ready: Readiness, metrics: Metrics) -> Handler:
    seconds = metrics.seconds.labels(path)

    async def handle(http: web.Request) -> web.Response:
        with seconds.time():
            review = await _decoded(http)
            if not await ready.synced(HOLD_SECONDS):
                raise web.HTTPServiceUnavailable(text="the first lists are not complete")
            response = await answer(review.request)
        outcome = "refused" if not response.allowed else "patched" if response.patch else "allowed"
        metrics.reviews.labels(path, outcome).inc()
        return json_answer(AdmissionAnswer(response))

    return handle


async def _decoded(http: web.Request) -> AdmissionReview:
    try:
        review = await decoded(http, _REVIEWS, READ_SECONDS)
    except UNDECODABLE as error:
        raise web.HTTPBadRequest(text=f"AdmissionReview: {error}") from error
    if (review.api_version, review.kind) != _VERSION:
        raise web.HTTPBadRequest(text=f"apiVersion and kind must be {' '.join(_VERSION)}")
    namespace = review.request.namespace  # becomes part of a path
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise web.HTTPBadRequest(text=f"request.namespace: {namespace[:80]!r} is no namespace")
    return review
