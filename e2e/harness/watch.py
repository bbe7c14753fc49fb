"""Every event of a collection, as the API server's own watch tells it."""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from harness.client import Client, ClusterError, environment

Object = dict[str, Any]

_RESUMING_SECONDS = 400
"""How long a stream that has ended is opened anew: longer than any test keeps its API server
silent."""
_PAUSE_SECONDS = 0.5
_STEADY_SECONDS = 60.0
"""A stream that lasts for longer was open, also if it had no event: kubectl gives up one that it
cannot open within some 10 s."""


class Watch:
    """A context manager. Lists `path` and then records every event after it, in order.

    `events` holds (type, object) in the order of the API server, `objects` the state after the last
    of them, by uid. A stream that ends is resumed after its last event, so that none is lost. If
    the API server does not have what came after it any more, the watch is at its end."""

    def __init__(self, cluster: Client, path: str = "/api/v1/pods") -> None:
        self.events: list[tuple[str, Object]] = []
        self.objects: dict[str, Object] = {}
        self._cluster = cluster
        self._path = path
        self._changed = threading.Condition()
        self._broken = ""
        self._closing = threading.Event()
        self._is_open = False

    def __enter__(self) -> Self:
        listed = json.loads(self._cluster.kubectl("get", "--raw", self._path))
        self.objects = {item["metadata"]["uid"]: item for item in listed["items"]}
        self._version = listed["metadata"]["resourceVersion"]
        self._process = self._opened()
        self._reader = threading.Thread(target=self._run, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:  # no stream is opened from here on
            self._closing.set()
            self._process.kill()
        self._reader.join(timeout=15)
        if self._reader.is_alive():
            raise ClusterError(f"the watch of {self._path} does not end")

    def wait_for(
        self, condition: Callable[[list[Object]], bool], seconds: float, what: str
    ) -> list[Object]:
        """Waits until the state meets the condition and returns it. TimeoutError says what it was
        instead."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition(state := list(self.objects.values())):
                if self._broken:
                    raise ClusterError(f"the watch of {self._path} ended: {self._broken}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not within {seconds} s: {what}; there is {brief(state)}")
                self._changed.wait(left)
            return state

    def wait_quiet(self, quiet: float, seconds: float) -> None:
        """Waits until no event has come for `quiet` seconds of an open stream."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._changed.wait(quiet) or not self._is_open:
                if self._broken:
                    raise ClusterError(f"the watch of {self._path} ended: {self._broken}")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self._path} has not been quiet for {seconds} s")

    def _opened(self) -> subprocess.Popen[bytes]:
        """A stream of the events after the last one."""
        path = f"{self._path}?watch=1&resourceVersion={self._version}"
        return subprocess.Popen(
            [*self._cluster.kubectl_command(), "get", "--raw", path],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._broken = repr(error)
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def _follow(self) -> None:
        ends = time.monotonic() + _RESUMING_SECONDS
        while not self._broken:
            begun = time.monotonic()
            self._is_open = True
            is_alive = self._read() > 0 or time.monotonic() - begun > _STEADY_SECONDS
            self._is_open = False
            self._process.kill()
            self._process.wait(timeout=10)
            if is_alive:
                ends = time.monotonic() + _RESUMING_SECONDS
            if self._closing.wait(_PAUSE_SECONDS):
                return
            with self._changed:
                if self._closing.is_set() or self._broken:
                    return
                if time.monotonic() > ends:
                    self._broken = "end of stream"
                    return
                self._process = self._opened()

    def _read(self) -> int:
        """Takes in the events until the stream ends. Returns how many came."""
        if self._process.stdout is None:
            raise AssertionError("stdout was asked for")
        count = 0
        with self._process.stdout as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # the torn end of a stream
                event = json.loads(line)
                with self._changed:
                    if event["type"] == "ERROR":
                        self._broken = json.dumps(event["object"])
                    else:
                        self._take(event["type"], event["object"])
                        count += 1
                    self._changed.notify_all()
        return count

    def _take(self, kind: str, found: Object) -> None:
        self.events.append((kind, found))
        self._version = found["metadata"]["resourceVersion"]
        if kind == "DELETED":
            self.objects.pop(found["metadata"]["uid"], None)
        else:
            self.objects[found["metadata"]["uid"]] = found


def is_live(pod: Object) -> bool:
    """Not finished and not being deleted: what counts against a maximum."""
    finished = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not finished and "deletionTimestamp" not in pod["metadata"]


def node_of(pod: Object) -> str:
    """The pod's node, or an empty string."""
    return str(pod["spec"].get("nodeName", ""))


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def scheduling_message(pod: Object) -> str:
    """What the scheduler last said of why the pod is not placed. It says nothing of a gated one."""
    condition = scheduled_condition(pod)
    if condition.get("status") != "False" or condition.get("reason") == "SchedulingGated":
        return ""
    return str(condition.get("message", ""))


def scheduled_condition(pod: Object) -> Object:
    """The pod's condition PodScheduled, or an empty one."""
    found: list[Object] = pod.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == "PodScheduled"), {})


def is_waiting(pod: Object) -> bool:
    """Refused by the scheduler, or gated in the crowd that it is of."""
    return (
        bool(scheduling_message(pod)) or scheduled_condition(pod).get("reason") == "SchedulingGated"
    )


def brief(objects: list[Object]) -> str:
    """One line for people."""
    return ", ".join(
        f"{o['metadata']['name']}"
        + (f" on {node_of(o)}" if o.get("spec", {}).get("nodeName") else "")
        + (f" ({scheduling_message(o)})" if scheduling_message(o) else "")
        for o in sorted(objects, key=lambda o: str(o["metadata"]["name"]))
    )
