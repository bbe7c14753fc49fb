"""The judge: a process of its own that follows the API server's watch of all pods and knows nothing
of Spillover. It counts live pods on groups of nodes.

`python checker.py KUBECONFIG NODES` where NODES is JSON, {node: unit}. For each line on stdin, the
name of a namespace, it prints a line of JSON: `highest` and `now`, live pods by unit; `moved`, pods
that were seen on two nodes; `events`, how many it has seen of the namespace.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from faults.api import Api, ApiFailureError, parsed

Object = dict[str, Any]
_PAUSE = 0.1


class Judge:
    def __init__(self, api: Api, units: dict[str, str]) -> None:
        self._api = api
        self._units = units
        self._lock = threading.Lock()
        self._live: dict[str, tuple[str, str]] = {}  # uid: namespace, unit
        self._nodes: dict[str, str] = {}
        self._now: dict[str, Counter[str]] = defaultdict(Counter)
        self._highest: dict[str, Counter[str]] = defaultdict(Counter)
        self._events: Counter[str] = Counter()
        self._moved: dict[str, list[str]] = defaultdict(list)

    def follow(self) -> None:
        """Never returns. A watch that ends is taken up where it stopped, or from a new list."""
        version = ""
        while True:
            try:
                version = self._watch(version or self._list())
            except (ApiFailureError, OSError, http.client.HTTPException, ValueError):
                version = ""
            time.sleep(_PAUSE)

    def report(self, namespace: str) -> Object:
        with self._lock:
            return {
                "highest": self._highest[namespace],
                "now": {unit: n for unit, n in self._now[namespace].items() if n},
                "moved": self._moved[namespace],
                "events": self._events[namespace],
            }

    def _list(self) -> str:
        listed = self._api.request("GET", "/api/v1/pods")
        with self._lock:
            there = {pod["metadata"]["uid"] for pod in listed["items"]}
            # Those that are gone first: what took their place is no overshoot.
            for uid in set(self._live) - there:
                self._drop(uid)
            for pod in sorted(listed["items"], key=_is_live):
                self._see(pod)
        return str(listed["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        connection = self._api.open(seconds=90)
        path = f"/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ApiFailureError(str(answer.status))
            for line in answer:
                event = parsed(line)
                if event["type"] == "ERROR":
                    raise ApiFailureError(str(event["object"]))
                version = event["object"]["metadata"]["resourceVersion"]
                with self._lock:
                    if event["type"] == "DELETED":
                        self._drop(event["object"]["metadata"]["uid"])
                    elif event["type"] != "BOOKMARK":
                        self._see(event["object"])
        finally:
            connection.close()
        return version

    def _see(self, pod: Object) -> None:
        uid, namespace = pod["metadata"]["uid"], pod["metadata"]["namespace"]
        self._events[namespace] += 1
        node = pod["spec"].get("nodeName", "")
        if node and self._nodes.setdefault(uid, node) != node:
            self._moved[namespace].append(pod["metadata"]["name"])
        unit = self._units.get(node)
        if unit is None or not _is_live(pod):
            self._drop(uid)
        elif uid not in self._live:
            self._live[uid] = (namespace, unit)
            now, highest = self._now[namespace], self._highest[namespace]
            now[unit] += 1
            highest[unit] = max(highest[unit], now[unit])

    def _drop(self, uid: str) -> None:
        if uid in self._live:
            namespace, unit = self._live.pop(uid)
            self._now[namespace][unit] -= 1


def _is_live(pod: Object) -> bool:
    finished = pod["status"].get("phase") in ("Succeeded", "Failed")
    return not finished and "deletionTimestamp" not in pod["metadata"]


def main() -> None:
    judge = Judge(Api(Path(sys.argv[1])), json.loads(sys.argv[2]))
    threading.Thread(target=judge.follow, daemon=True).start()
    for line in sys.stdin:
        print(json.dumps(judge.report(line.strip())), flush=True)


if __name__ == "__main__":
    main()
