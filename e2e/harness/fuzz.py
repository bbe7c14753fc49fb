"""Pods, policies and nodes as nobody would write them, and changes of them: drawn from a seed."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness.scenes import ACK, GPU, VKE

Object = dict[str, Any]
Draw = Callable[[], object]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
FINALIZER = "spillover.dev/fuzz"
LARGEST = 200_000
"""Characters of an annotation: all of an object's may have 256 KiB."""

QUANTITIES = (
    "0", "1", "1e0003", "0.0000000000001", "1Ei", "7Ei", "8Ei", "0001", "-0", "+1", ".5", "5.",
    "12345678901234567890", "9223372036854775807", "9223372036854775808", "1E", "1e1", "1E-3",
    "1e-9", "1e-10", "1n", "999999999999n", "1u", "1.5Gi", "0.1Ki", "Ki", "000000000000000.1m",
    "1e18", "1e19", "9" * 60, "0" * 70 + "1", "1m", "100m", "1k", "0.001", "1e-9999",
)  # fmt: skip
"""As the API server takes them. Without exponents of thousands of millions: its own arithmetic does
not end there, see tests/cluster/test_quantities.py."""

REFUSED_QUANTITIES = ("-1", "-1e-9", "1ki", "1e", "", " 1", "1 ", "0x10", "NaN", "\u0661", "1.1.1")
WHOLE = ("0", "1", "0001", "+1", "1e1", "1e0003", "5.", "1000m", "1k", "9" * 60, "1Ei", "2000000u")
"""For what comes in whole pieces only."""

COUNTS = (0, 1, 2, 3, 100, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 1e3, 1e15)
NUMBERS = (
    *COUNTS, -1, -(2**31), -(2**63), 2**63, 2**64, 12345678901234567890, 1e20, 1e21, 1e22, 1e300,
    0.5, -0.0,
)  # fmt: skip

TEXTS = (
    "", " ", "null", "true", "0", "a", "a" * 63, "a" * 64, "a" * 1024, "a" * 1025, "A.b-c_9", "-",
    "/", "\0", "\x1b[2J", "\u202e", "\ufeff", "\uffff", "\ud800", "\udc00\ud800", "e\u0301",
    "\U0001f600" * 99, "\u0663", "ß" * 64, "%s%n{}", '{"a":', '"', "\\", "\r\n", "\u2028", "a,b",
    "a=b", "*", "..",
    "Infinity", "1e999", "2026-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "x" * 5000,
)  # fmt: skip

DURATIONS = (
    "", "0", "1s", "-1s", "15m", "1h30m", "1.5s", "1ns", ".1µs", "2562047h47m16.854775807s",
    "2562048h", "1d", "999999999999h", "1" * 70 + "s", "+5s", "1e3s", "\u0661s", "00s",
)  # fmt: skip

RATIOS = ("", "0", "0.1", ".5", "5.", "999", "1000", "-1", "1e1", "0." + "1" * 18, "0." + "1" * 19)

MARKS = (
    ("spillover.dev/unit", ("", "ecs", "eci-0000000000", "\0", "u" * 9999, "first", "{}")),
    (
        "spillover.dev/policy",
        ("", "/", f"{ACK}/", f"{ACK}/policy-1", f"{VKE}/policy-2", "a/b/c", "p" * 9999, "/" * 99),
    ),
    (
        "spillover.dev/epoch",
        ("", "0", "1", "-1", str(10**20 - 1), "9" * 5000, "1e3", "\u0661", "0" * 20, " 7", "1.5"),
    ),
    (
        "spillover.dev/waiting",
        (
            "", "{", "null", "[]", "{}", '{"ecs": 1}', '{"ecs": "soon"}', "[" * 5000,
            '{"a":' * 5000, '{"x": "' + "y" * 20000,
            '{"ecs": "9999-12-31T23:59:59Z", "eci": "0001-01-01T00:00:00Z"}',
            '{"ecs": "2026-02-30T00:00:00Z"}', '{"n": 1' + "0" * 5000 + "}", '{"n": NaN}',
        ),
    ),
    ("controller.kubernetes.io/pod-deletion-cost", ("0", "1", "-2147483648", "2147483647")),
    ("alibabacloud.com/eci", ("true", "false", "")),
)  # fmt: skip

_SHAPES = {
    "fields": ('{"f:a":', "{}", "}"),
    "keys": (r'{"f:\"}{[\\":', "{}", "}"),
    "lists": ("[", "0", "]"),
    "objects": ('{"a":', '"}"', "}"),
}
_DEPTHS = (0, 1, 46, 47, 48, 49, 50, 100, 330, 500, 900, 990, 1000, 1100, 1500, 3000, 5000)
_DEPTH_WEIGHTS = (*(4,) * 14, 2, 1, 1)
"""The API server takes seconds for a change of a policy with thousands of levels."""
_MARKER = re.compile(rb'"deep:(\w+):(\d+)"')


@dataclass(frozen=True, slots=True)
class Change:
    """A request about an object at `path` + `suffix`."""

    method: str
    suffix: str
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Made:
    """An object to be created. `kind` is Pod, Node, or the dialect of a policy."""

    kind: str
    collection: str
    name: str
    body: bytes

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"


def encoded(body: object) -> bytes:
    """As JSON, also what is nested too deep for Python's own encoder: see `Fuzz.deep`."""

    def fill(match: re.Match[bytes]) -> bytes:
        opens, inmost, closes = _SHAPES[match[1].decode()]
        depth = int(match[2])
        return (opens * depth + inmost + closes * depth).encode()

    return _MARKER.sub(fill, json.dumps(body).encode())


class Fuzz:
    """The same seed gives the same objects and changes. Those with a namespace are in one of
    `namespaces`."""

    def __init__(self, seed: int, namespaces: Sequence[str]) -> None:
        self._chance = Random(seed)
        self._namespaces = namespaces
        self._count = 0
        self._sound = True

    def made(self) -> Made:
        """The next object, of which nothing is known but that it is JSON."""
        self._count += 1
        self._sound = self._chance.random() < 0.8
        kind = self._chance.choices(("Pod", "Node", ACK, VKE), (5, 1, 2, 2))[0]
        name = self._name({"Pod": "pod", "Node": "node"}.get(kind, "policy"))
        if kind == "Node":
            return Made(kind, "/api/v1/nodes", name, encoded(self._node(name)))
        namespace = self._chance.choice(self._namespaces)
        if kind == "Pod":
            where = f"/api/v1/namespaces/{namespace}/pods"
            return Made(kind, where, name, encoded(self._pod(name)))
        version = f"{kind}/{'v1alpha1' if kind == ACK else 'v1beta1'}"
        body = {
            "apiVersion": version,
            "kind": "ResourcePolicy",
            "metadata": self._metadata(name),
            "spec": self._ack() if kind == ACK else self._vke(),
        }
        where = f"/apis/{version}/namespaces/{namespace}/resourcepolicies"
        return Made(kind, where, name, encoded(body))

    def change(self, kind: str) -> Change:
        """Something to do to an object of this kind."""
        chance = self._chance
        self._sound = chance.random() < 0.8
        match kind, chance.randrange(7):
            case "Pod", 0 | 1:
                return self._merge("/status", {"status": self._pod_status()}, STRATEGIC)
            case "Pod", 2 | 3:
                return self._merge("", {"metadata": {"annotations": self._marks()}})
            case "Pod", 4:
                grace = {"gracePeriodSeconds": chance.choice((0, 1, 30, 2**31))}
                return self._merge("", grace, "application/json", "DELETE")
            case "Node", 0 | 1 | 2:
                return self._merge("/status", {"status": self._node_status()})
            case "Node", 3:
                return self._merge("", {"spec": self._node_spec()})
            case _, 5:
                labels = {self._key(): self._label() for _ in range(self._few())}
                return self._merge("", {"metadata": {"labels": labels}})
            case _, 6:
                return self._merge("", {"metadata": {"annotations": self._annotations()}})
            case (_, 0 | 1) if kind in (ACK, VKE):
                return self._merge("/status", {"status": self._policy_status()})
            case (_, 2 | 3) if kind in (ACK, VKE):
                return self._merge("", {"spec": self._ack() if kind == ACK else self._vke()})
            case _:
                return self._merge("", {"metadata": {"managedFields": self._managed()}})

    # --- parts of every object -----------------------------------------------------------------

    def deep(self, *shapes: str) -> str:
        """Stands for JSON that `encoded` puts there: nested up to 5,000 levels."""
        (depth,) = self._chance.choices(_DEPTHS, _DEPTH_WEIGHTS)
        return f"deep:{self._chance.choice(shapes)}:{depth}"

    def _merge(self, suffix: str, body: object, kind: str = MERGE, method: str = "PATCH") -> Change:
        return Change(method, suffix, kind, encoded(body))

    def _rarely(self) -> bool:
        """Whether to draw what is refused, in a part of an object that is not sound."""
        return not self._sound and self._chance.random() < 0.08

    def _few(self) -> int:
        """Mostly none to three; sometimes as many as somebody tries."""
        counts = (65, 150) if self._rarely() else (0, 0, 1, 1, 2, 3, 3, 33, 64)
        return self._chance.choice(counts)

    def _text(self) -> str:
        return self._chance.choice(TEXTS)

    def _number(self) -> float:
        return self._chance.choice(NUMBERS)

    def _amount(self, resource: str) -> str:
        whole = "/" in resource or resource in ("pods", "a" * 63)
        return self._chance.choice(WHOLE) if whole and not self._rarely() else self._quantity()

    def _quantity(self) -> str:
        chance = self._chance
        if self._rarely():
            return chance.choice(REFUSED_QUANTITIES)
        if chance.random() < 0.5:
            return chance.choice(QUANTITIES)
        digits = "".join(chance.choices("000123459", k=chance.randrange(1, 25)))
        point = chance.randrange(len(digits) + 1)
        suffixes = ("", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "e2")
        return f"{digits[:point]}.{digits[point:]}{chance.choice(suffixes)}"

    def _name(self, word: str) -> str:
        """Valid, and of this object alone: up to 253 characters, with dots."""
        name = f"{word}-{self._count}"
        match self._chance.randrange(8):
            case 0:
                return f"{name}-".ljust(253, "n")
            case 1:
                return f"{name}.".ljust(100, "x") + ".0"
            case 2:
                return f"{name}-".ljust(63, "n")
        return name

    def _key(self) -> str:
        """Of a label or an annotation."""
        if self._rarely():
            return self._text()
        number = self._chance.randrange(1000)
        longest = f"{'d' * 60}.{'e' * 60}/{'k' * 60}{number}"
        return self._chance.choice((f"k{number}", f"example.com/{number}", "app", "K_.k", longest))

    def _label(self) -> object:
        chance = self._chance
        if self._rarely():
            return chance.choice((self._text(), None, 1))
        return chance.choice(("", "a", "true", "a" * 63, "9.9_9-9", "virtual-kubelet", "0012"))

    def _annotations(self) -> Object:
        chance = self._chance
        found: Object = {self._key(): self._text() for _ in range(self._few())}
        match chance.randrange(8):
            case 0:
                found["huge"] = chance.choice('a\U0001f600\\\u0001"') * (LARGEST // 4)
            case 1:
                found["huge"] = "h" * LARGEST
            case 2:
                found["nested"] = '{"a":' * 20_000
            case 3:
                found.update(self._marks())
        return found

    def _marks(self) -> Object:
        """Some of Spillover's own annotations, and of those that it reads."""
        return {
            key: self._chance.choice((*values, None))
            for key, values in MARKS
            if self._chance.random() < 0.4
        }

    def _managed(self) -> list[Object]:
        return [
            {
                "manager": f"m{number}",
                "operation": "Update",
                "apiVersion": "v1",
                "fieldsType": "FieldsV1",
                "time": "2026-01-01T00:00:00Z",
                "fieldsV1": self.deep("fields", "fields", "keys"),
            }
            for number in range(self._chance.choice((1, 1, 2, 5)))
        ]

    def _metadata(self, name: str) -> Object:
        chance = self._chance
        made: Object = {"name": name}
        if chance.random() < 0.8:
            made["labels"] = {self._key(): self._label() for _ in range(self._few())}
            made["labels"]["app"] = chance.choice("abc")
        if chance.random() < 0.6:
            made["annotations"] = {
                key: value for key, value in self._annotations().items() if value is not None
            }
        if chance.random() < 0.3:
            made["managedFields"] = self._managed()
        if chance.random() < 0.2:
            made["finalizers"] = [FINALIZER]
        if chance.random() < 0.05:  # whose owner is nowhere: the garbage collector deletes it
            made["ownerReferences"] = [
                {
                    "apiVersion": "apps/v1", "kind": chance.choice(("ReplicaSet", "Nonsense")),
                    "name": "o", "uid": chance.choice(("u", "\u202e", "0" * 500)),
                    "controller": chance.choice((True, False, None)),
                }
            ]  # fmt: skip
        return made

    def _maybe(self, into: Object, rate: float, **fields: Draw) -> None:
        for field, draw in fields.items():
            if self._chance.random() < rate:
                into[field] = draw()

    # --- pods ----------------------------------------------------------------------------------

    def _resources(self, rate: float = 0.5) -> Object:
        """Requests and limits: mostly of requests alone, for both must go together."""
        names = ("cpu", "memory", "ephemeral-storage", GPU, "example.com/thing", "hugepages-2Mi")
        weights = (6, 6, 2, 1, 1, 1)
        asked = {
            name: self._amount(name)
            for name in self._chance.choices(names, weights, k=self._chance.randrange(3))
        }
        extended = {name for name in asked if "/" in name or name.startswith("huge")}
        made: Object = {"requests": asked, "limits": {name: asked[name] for name in extended}}
        return made if self._chance.random() < rate else {}

    def _container(self, number: int) -> Object:
        made: Object = {"name": f"c{number}", "image": "i", "resources": self._resources()}
        self._maybe(made, 0.05, args=lambda: [self._text()] * 50)
        self._maybe(made, 0.05, env=lambda: [{"name": "E", "value": self._text()}])
        return made

    def _toleration(self) -> Object:
        chance = self._chance
        operator = chance.choice(("Exists", "Equal", "", *(("Lt",) if self._rarely() else ())))
        key = chance.choice(("virtual-kubelet.io/provider", "k", "example.com/k", "k" * 63))
        made: Object = {"key": key, "operator": operator}
        if operator == "Exists":
            made["key"] = chance.choice((key, ""))
        else:
            made["value"] = chance.choice(("", "a", "a" * 63))
        made["effect"] = chance.choice(("NoSchedule", "PreferNoSchedule", "NoExecute", ""))
        if made["effect"] == "NoExecute":
            self._maybe(made, 0.5, tolerationSeconds=lambda: chance.choice((0, -1, 2**63 - 1, 9)))
        return made

    def _volume(self, number: int) -> Object:
        asked = {"requests": {"storage": self._quantity()}}
        claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": asked}}
        return self._chance.choice(
            (
                {"name": f"v{number}", "emptyDir": {"sizeLimit": self._quantity()}},
                {"name": f"v{number}", "persistentVolumeClaim": {"claimName": "none"}},
                {"name": f"v{number}", "ephemeral": {"volumeClaimTemplate": claim}},
            )
        )

    def _pod(self, name: str) -> Object:
        chance = self._chance
        ours = chance.random() < 0.85
        spec: Object = {
            "containers": [self._container(n) for n in range(chance.choice((1, 1, 1, 2, 9)))],
            "schedulerName": "spillover-scheduler"
            if ours
            else chance.choice(("x", "é", "s" * 999)),
        }
        self._maybe(
            spec, 0.15,
            terminationGracePeriodSeconds=lambda: chance.choice((0, 1, 2**31, 2**62, -1)),
            activeDeadlineSeconds=lambda: chance.choice((1, 2**31 - 1)),
            nodeName=lambda: chance.choice(("ordinary", "nowhere", "n" * 253)),
            volumes=lambda: [self._volume(n) for n in range(chance.choice((1, 2, 30)))],
            resources=lambda: {"requests": {"cpu": "12345678901234567890"}},
            resourceClaims=lambda: [{"name": "c", "resourceClaimName": "none"}],
            priority=lambda: self._or_nonsense(lambda: 0),
            preemptionPolicy=lambda: self._or_nonsense(lambda: "PreemptLowerPriority"),
        )  # fmt: skip
        self._maybe(
            spec, 0.25,
            tolerations=lambda: [self._toleration() for _ in range(self._few())],
            nodeSelector=lambda: {self._key(): self._label() for _ in range(self._few())},
            initContainers=lambda: [
                {**self._container(100 + n), "restartPolicy": "Always"} for n in range(2)
            ],
            schedulingGates=lambda: [{"name": f"example.com/{'g' * 60}{n}"} for n in range(3)],
        )  # fmt: skip
        if "nodeName" in spec:
            spec.pop("schedulingGates", None)  # never both
        return {"apiVersion": "v1", "kind": "Pod", "metadata": self._metadata(name), "spec": spec}

    def _condition(self) -> Object:
        chance = self._chance
        kinds = ("Ready", "PodScheduled", "PodResizePending", "Initialized", "example.com/b")
        made: Object = {
            "type": chance.choice(kinds),
            "status": chance.choice(("True", "False", "Unknown", "é", "x" * 300)),
        }
        self._maybe(
            made, 0.5,
            reason=lambda: chance.choice(("Unschedulable", "Infeasible", "SchedulerError", "é")),
            message=self._text,
            lastTransitionTime=lambda: chance.choice(
                (None, "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
                 "2026-01-01T00:00:00+14:00", "2026-01-01T00:00:00.123456789Z")
            ),
        )  # fmt: skip
        return made

    def _pod_status(self) -> Object:
        chance = self._chance
        status: Object = {}
        phases = (
            "Pending",
            "Running",
            "Succeeded",
            "Failed",
            "Unknown",
            "",
            "pending",
            "é",
            "x" * 300,
        )
        self._maybe(
            status, 0.4,
            phase=lambda: chance.choice(phases),
            conditions=lambda: [self._condition() for _ in range(chance.choice((1, 2, 40)))],
            nominatedNodeName=lambda: chance.choice(("", "ordinary", "nowhere", "n" * 253)),
            containerStatuses=lambda: [
                {
                    "name": chance.choice(("c0", "c1", "é", "")), "image": "i", "imageID": "i",
                    "ready": True, "restartCount": chance.choice((0, -1, 2**31 - 1)),
                    "allocatedResources": {"cpu": self._quantity(), "memory": self._quantity()},
                    "resources": self._resources(1.0),
                }
                for _ in range(chance.choice((1, 2)))
            ],
            message=self._text,
        )  # fmt: skip
        return status

    # --- nodes ---------------------------------------------------------------------------------

    def _node_spec(self) -> Object:
        chance = self._chance
        spec: Object = {}
        effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
        self._maybe(
            spec, 0.5,
            taints=lambda: [
                {"key": key, "value": chance.choice(("", "a", "v" * 63)), "effect": effect}
                for key in ("virtual-kubelet.io/provider", *(f"k{n}" for n in range(self._few())))
                for effect in effects[: chance.randint(1, 3)]
            ],
            unschedulable=lambda: chance.choice((True, False, None)),
            providerID=self._text,
        )  # fmt: skip
        return spec

    def _node_status(self) -> Object:
        names = ("cpu", "memory", "pods", "ephemeral-storage", GPU, "example.com/é", "a" * 63)
        amounts = {name: self._amount(name) for name in names if self._chance.random() < 0.5}
        status: Object = {}
        self._maybe(
            status, 0.7,
            allocatable=lambda: amounts,
            capacity=lambda: amounts,
            conditions=lambda: [self._condition() for _ in range(self._chance.choice((1, 2, 40)))],
        )  # fmt: skip
        return status

    def _node(self, name: str) -> Object:
        """Never in a unit of the ordinary load: it has not the label `pool`."""
        metadata = self._metadata(name)
        if self._chance.random() < 0.2:
            metadata.setdefault("annotations", {})["kwok.x-k8s.io/node"] = "fake"
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": metadata,
            "spec": self._node_spec(),
            "status": self._node_status(),
        }

    # --- policies ------------------------------------------------------------------------------

    def _or_nonsense(self, draw: Draw) -> object:
        """Mostly what is drawn."""
        if not self._rarely():
            return draw()
        return self._chance.choice((None, [], {}, True, self._text(), self._number(), [[]], [None]))

    def _selector(self) -> Object:
        chance = self._chance
        return chance.choice(
            (
                {}, {"app": chance.choice("abc")}, {"app": chance.choice("abc"), "k": ""},
                {self._key(): self._label() for _ in range(self._few())},
            )
        )  # fmt: skip

    def _units(self, unit: Callable[[int], Object]) -> list[Object]:
        count = self._chance.choice((0, 101, 1000) if self._rarely() else (1, 1, 2, 3, 30, 100))
        return [unit(number) for number in range(count)]

    def _more(self, spec: Object) -> None:
        """Fields that nobody knows: kept by the schema, wherever they stand in a spec."""
        if self._chance.random() < 0.3:
            spec[self._chance.choice(("more", "é", "Units", "status", "\0"))] = self.deep(
                "objects", "lists", "fields"
            )
        if self._chance.random() < 0.2:
            spec["number"] = self._number()
        if self._chance.random() < 0.2:
            spec["text"] = self._text()

    def _limit(self) -> object:
        return self._or_nonsense(lambda: self._chance.choice(COUNTS))

    def _ack(self) -> Object:
        chance = self._chance

        def unit(number: int) -> Object:
            made: Object = {"resource": chance.choice(("ecs", "ecs", "eci", "elastic", "acs"))}
            self._maybe(
                made, 0.2,
                max=self._limit,
                nodeSelector=lambda: self._or_nonsense(self._selector),
                maxResources=lambda: {
                    chance.choice(("cpu", "memory", GPU, self._text())): chance.choice(
                        (self._quantity(), self._limit())
                    )
                    for _ in range(chance.choice((1, 2, 64)))
                },
                podLabels=lambda: {"k": self._label()},
                podAnnotations=lambda: {self._key(): self._text()},
                resource=lambda: self._or_nonsense(lambda: "eci"),
            )  # fmt: skip
            if number == 0:
                self._more(made)
            return made

        spec: Object = {"selector": self._selector(), "units": self._units(unit)}
        advances = ("ExceedMax", "LackResourceOrExceedMax", "TimeoutOrExceedMax")
        self._maybe(
            spec, 0.2,
            strategy=lambda: self._or_nonsense(lambda: "prefer"),
            preemptPolicy=lambda: self._or_nonsense(
                lambda: chance.choice(("AfterAllUnits", "BeforeNextUnit"))
            ),
            ignorePreviousPod=lambda: self._or_nonsense(lambda: True),
            ignoreTerminatingPod=lambda: self._or_nonsense(lambda: False),
            matchLabelKeys=lambda: [self._key() for _ in range(self._few())],
            whenTryNextUnits=lambda: {
                "policy": chance.choice((*advances, "LackResourceAndNoTerminating")),
                "timeout": chance.choice(DURATIONS),
            },
        )  # fmt: skip
        self._more(spec)
        return spec

    def _vke(self) -> Object:
        chance = self._chance
        operators = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")

        def term() -> Object:
            operator = chance.choice(operators)
            counts = {"In": 2, "NotIn": 1, "Gt": 1, "Lt": 1}
            values: list[object] = [self._label() for _ in range(counts.get(operator, 0))]
            if operator in ("Gt", "Lt"):
                values = [chance.choice(("0", "-1", "007", str(2**63), "9" * 500, "\u0661", "1e3"))]
            return {"key": self._key(), "operator": operator, "values": values}

        def subset(number: int) -> Object:
            name = chance.choice(("s", "é", "\U0001f600", "s" * 50)) + str(number)
            made: Object = {"name": name, "type": chance.choice(("ecs", "vci"))}
            self._maybe(
                made, 0.2,
                maxReplicas=self._limit,
                maxReplicasRatio=lambda: chance.choice(RATIOS),
                whenNotReachMax=lambda: chance.choice(("ScheduleAnyWay", "DoNotSchedule", "x")),
                nodeSelectorTerm=lambda: [term() for _ in range(chance.choice((0, 1, 3, 32)))],
                type=lambda: self._or_nonsense(lambda: "vci"),
                name=lambda: self._or_nonsense(self._text),
            )  # fmt: skip
            if number == 0:
                self._more(made)
            return made

        spec: Object = {"selector": self._selector(), "subsets": self._units(subset)}
        self._maybe(spec, 0.3, strategy=lambda: chance.choice(("prefer", "require", "x")))
        self._more(spec)
        return spec

    def _policy_status(self) -> Object:
        chance = self._chance
        status: Object = {}
        self._maybe(
            status, 0.5,
            conditions=lambda: [
                {"type": kind, "status": self._text(), "more": self.deep("objects", "lists")}
                for kind in ("Ready", "Invalid", "x", "é")[: chance.randint(1, 4)]
            ],
            units=lambda: [{"name": self._text(), "assigned": self._number()}] * 3,
            observedGeneration=lambda: chance.choice((0, -1, 2**63 - 1)),
            pods=self._number,
            more=lambda: self.deep("objects", "lists"),
        )  # fmt: skip
        return status
