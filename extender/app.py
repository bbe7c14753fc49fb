"""The extender's HTTP interface: filter, preempt and bind for kube-scheduler.

A failed request gets one of two answers. If kube-scheduler could have sent the request, the answer
is status 200 with an `Error`, and the scheduler shows its text with the pod. Any other request gets
a 4xx and `{"error": reason}`. A failed request changes nothing. Probes and metrics have their own
port.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
from aiohttp import web

from extender.binding import BIND_SECONDS, Binding
from extender.filtering import Filtering
from extender.metrics import Metrics
from extender.preempting import Preempting
from spillover.api.extender import (
    BindArgs,
    BindResult,
    FilterArgs,
    FilterResult,
    PreemptArgs,
    PreemptResult,
)
from spillover.api.kubernetes import PodObject
from spillover.kube.readiness import Readiness
from spillover.serving.requests import UNDECODABLE, decoded, errors_as_json, json_answer

LARGEST_REQUEST = 16 * 2**20
"""In bytes. A pod takes at most 1.5 MiB in etcd, and 5,000 node names take 1.3 MB."""

HOLD_SECONDS = 14.0
"""Time from a request to the end of its wait for the first lists, in seconds. It is one second less
than the scheduler's httpTimeout."""

READ_SECONDS = 10.0
"""Time limit for reading the whole body of a request. Requests come from the same host."""


class PlacementGate(Protocol):
    """Waits until a pod may be placed: until the takeover has ended and the current policies are
    known. Returns a reason if the policies are still not known after `seconds`."""

    async def of_pod(self, pod: PodObject, seconds: float) -> str | None: ...

    async def of_known(self, uid: str, seconds: float) -> str | None: ...


NOT_SYNCED = "Spillover has not read all pods, nodes and policies yet"

T = TypeVar("T")


def scheduler_app(
    filtering: Filtering,
    preempting: Preempting,
    binding: Binding,
    ready: Readiness,
    metrics: Metrics,
    clock: Callable[[], float],
    admission: PlacementGate,
) -> web.Application:
    """The application that serves kube-scheduler. Requests carry no credentials: serve it on
    loopback only."""

    async def filter_(request: web.Request) -> web.Response:
        with metrics.filter_seconds.time():
            deadline = clock() + HOLD_SECONDS
            args = await _decoded(request, _FILTER_ARGS)
            if not await ready.synced(deadline - clock()):
                return json_answer(FilterResult(error=NOT_SYNCED))
            if reason := await admission.of_pod(args.pod, deadline - clock()):
                return json_answer(FilterResult(error=reason))
            return json_answer(filtering.filter(args))

    async def preempt(request: web.Request) -> web.Response:
        deadline = clock() + HOLD_SECONDS
        args = await _decoded(request, _PREEMPT_ARGS)
        if not await ready.synced(deadline - clock()):
            return json_answer(PreemptResult())  # there is no field for an error
        if await admission.of_pod(args.pod, deadline - clock()):
            return json_answer(PreemptResult())
        return json_answer(preempting.preempt(args))

    async def bind(request: web.Request) -> web.Response:
        with metrics.bind_seconds.time():
            deadline = clock() + BIND_SECONDS
            args = await _decoded(request, _BIND_ARGS)
            if not await ready.synced(BIND_SECONDS / 2):
                return json_answer(BindResult(error=NOT_SYNCED))
            if reason := await admission.of_known(args.pod_uid, BIND_SECONDS / 2):
                return json_answer(BindResult(error=reason))
            return json_answer(await binding.bind(args, deadline))

    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[errors_as_json])
    app.add_routes(
        [web.post("/filter", filter_), web.post("/preempt", preempt), web.post("/bind", bind)]
    )
    return app


_FILTER_ARGS = msgspec.json.Decoder(FilterArgs)
_PREEMPT_ARGS = msgspec.json.Decoder(PreemptArgs)
_BIND_ARGS = msgspec.json.Decoder(BindArgs)


async def _decoded(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return await decoded(request, decoder, READ_SECONDS)
    except UNDECODABLE as error:
        hint = _NAMES_WANTED if str(error) in _WITHOUT_NAMES else ""
        raise web.HTTPBadRequest(text=f"{decoder.type.__name__}: {error}{hint}") from error


_WITHOUT_NAMES = (
    "Object missing required field `NodeNames`",
    "Expected `array`, got `null` - at `$.NodeNames`",
)
_NAMES_WANTED = "; the scheduler's configuration must say nodeCacheCapable: true for this extender"
