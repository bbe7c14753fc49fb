"""Pods that come and go while faults strike: bare ones, and those of a scaled Deployment."""

import threading
from random import Random
from types import TracebackType
from typing import Any, Self

from faults.api import Api, ApiFailureError
from harness import scenes

Object = dict[str, Any]

LOAD = {"app": "load"}
_MOST_REPLICAS = 16
_MOST_BARE = 4


class Churn:
    """A context manager: pods of a namespace change while the block runs, every 0.02 to 0.3 s times
    `pace`. What the API server does not take is tried no more."""

    def __init__(self, api: Api, namespace: str, seed: int, pace: float) -> None:
        self._api = api
        self._namespace = namespace
        self._pace = pace
        self._chance = Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._count = 0
        self.changes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._change()
                self.changes += 1
            except ApiFailureError:
                pass
            self._stop.wait(self._pace * self._chance.uniform(0.02, 0.3))

    def _change(self) -> None:
        chance = self._chance
        pods = f"/api/v1/namespaces/{self._namespace}/pods"
        match chance.randrange(4):
            case 0:
                scale(self._api, self._namespace, chance.randint(0, _MOST_REPLICAS))
            case 1 if self._count - chance.randrange(_MOST_BARE) < _MOST_REPLICAS:
                self._count += 1
                name = f"bare-{self._count}"
                body = scenes.pod(self._namespace, name, "spillover-scheduler", labels=LOAD)
                self._api.request("POST", pods, body)
            case _:
                there = self._api.pods(self._namespace)
                for pod in chance.sample(there, min(len(there), chance.randint(1, 3))):
                    grace = {"gracePeriodSeconds": chance.choice([0, 1])}
                    self._api.request("DELETE", f"{pods}/{pod['metadata']['name']}", grace)


def scale(api: Api, namespace: str, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/load/scale"
    api.merge(path, {"spec": {"replicas": replicas}})
