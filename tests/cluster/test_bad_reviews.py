"""Mutated AdmissionReviews at the webhook: a review that can be read gets a valid answer, anything
else a 4xx, and never a 5xx. A patch, applied by a library, changes nothing that the pod says."""

import base64
import copy
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import jsonpatch
import pytest
from aiohttp.test_utils import TestClient, TestServer

from builders import ack_policy, node, vke_policy
from mutations import mutated
from spillover.api.kubernetes import TemplatedWorkload
from spillover.core.admission.mutate import AdmissionDefaults, NamespaceMarks
from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import NodeIndex
from spillover.kube.binding_keys import PolicyJudge
from spillover.kube.readiness import Readiness
from webhook.admitting import Admitting
from webhook.app import admission_app
from webhook.crowded import CrowdedNamespaces
from webhook.metrics import Metrics
from webhook.namespaces import Namespace, Namespaces
from webhook.reviewing import Reviewing

Object = dict[str, Any]
Client = TestClient[Any, Any]
PATHS = ("/mutate/pods", "/validate/policies", "/validate/workloads")
SEED = 20261124


def review(
    kind: str, group: str, operation: str, made: Object, old: Object | None = None
) -> Object:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": "v1", "kind": kind},
            "operation": operation,
            "namespace": "ns",
            "name": made["metadata"].get("name", ""),
            "userInfo": {"username": "admin", "groups": ["system:masters"]},
            "object": made,
            "oldObject": old,
            "dryRun": False,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    }


POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "generateName": "app-",
        "labels": {"app": "app", "alibabacloud.com/acs": "true"},
        "annotations": {"note": "x"},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "a",
                "uid": "u",
                "controller": True,
            }
        ],
    },
    "spec": {
        "schedulerName": "default-scheduler",
        "nodeSelector": {"gpu-card": "big"},
        "containers": [
            {
                "name": "c",
                "image": "i",
                "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}},
            }
        ],
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}}
        ],
        "tolerations": [{"operator": "Exists"}],
    },
}
ACK: Object = {
    "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
    "kind": "ResourcePolicy",
    "metadata": {"name": "app", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {
        "selector": {"app": "app"},
        "units": [
            {"resource": "ecs", "max": 2, "maxResources": {"cpu": "8"}},
            {"resource": "acs", "podLabels": {"a": "b"}},
        ],
        "whenTryNextUnits": {"policy": "TimeoutOrExceedMax", "timeout": "15m"},
        "matchLabelKeys": ["pod-template-hash"],
    },
}
VKE: Object = {
    "apiVersion": "scheduling.vke.volcengine.com/v1beta1",
    "kind": "ResourcePolicy",
    "metadata": {"name": "app", "namespace": "ns"},
    "spec": {
        "selector": {"app": "app"},
        "strategy": "require",
        "subsets": [
            {
                "name": "a",
                "type": "ecs",
                "maxReplicasRatio": "0.1",
                "nodeSelectorTerm": [{"key": "k", "operator": "In", "values": ["v"]}],
            }
        ],
    },
}
WORKLOAD: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "app", "namespace": "ns"},
    "spec": {
        "selector": {
            "matchLabels": {"app": "app", "tier": "x"},
            "matchExpressions": [{"key": "b", "operator": "Exists"}],
        },
        "template": {
            "metadata": {"labels": {"app": "app", "tier": "x"}},
            "spec": {"containers": []},
        },
    },
}
DOCUMENTS: dict[str, list[Object]] = {
    PATHS[0]: [review("Pod", "", "CREATE", POD)],
    PATHS[1]: [
        review("ResourcePolicy", "scheduling.alibabacloud.com", "CREATE", ACK),
        review("ResourcePolicy", "scheduling.alibabacloud.com", "UPDATE", ACK, {**ACK, "spec": {}}),
        review("ResourcePolicy", "scheduling.vke.volcengine.com", "CREATE", VKE),
    ],
    PATHS[2]: [review("Deployment", "apps", "CREATE", WORKLOAD)],
}


async def no_workloads(_: str) -> list[TemplatedWorkload]:
    return []


@asynccontextmanager
async def webhook() -> AsyncIterator[Client]:
    policies, nodes, namespaces = PolicyIndex(), NodeIndex(NodeConventions()), Namespaces()
    nodes.put(node("node-0", pool="a"))
    units: list[Object] = [
        {"resource": "ecs", "podLabels": {"tier": "x", "b": "y"}},
        {"resource": "acs"},
    ]
    policies.put(ack_policy(*units, name="app"))
    policies.put(vke_policy({"name": "a", "type": "vci"}, name="other", selector={}))
    namespaces.put(
        Namespace("ns", NamespaceMarks({"alibabacloud.com/serverless-region-id": "cn-hangzhou"}))
    )
    app = admission_app(
        Admitting(
            policies,
            namespaces,
            CrowdedNamespaces(lambda: 0.0),
            AdmissionDefaults(gpu_models={"nvidia.com/gpu": "A10"}),
            (),
        ),
        Reviewing(policies, nodes, PolicyJudge(), no_workloads),
        Readiness([]),
        Metrics(lambda: 0.0, ()),
    )
    async with TestClient(TestServer(app)) as client:
        yield client


async def send(client: Client, path: str, body: bytes) -> tuple[int, Object]:
    headers = {"Content-Type": "application/json"}
    async with client.post(path, data=body, headers=headers) as answer:
        return answer.status, json.loads(await answer.read())


def check(body: bytes, status: int, answer: Object) -> str:
    """What holds for every answer."""
    if status != 200:
        assert 400 <= status < 500, (status, answer, body[:2000])
        assert answer["error"]
        return "unreadable"
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = answer["response"]
    assert isinstance(response["allowed"], bool)
    assert isinstance(response["uid"], str)
    assert all(isinstance(each, str) for each in response.get("warnings", []))
    if not response["allowed"]:
        assert response["status"]["message"]
        return "refused"
    if "patch" not in response:
        return "allowed"
    assert response["patchType"] == "JSONPatch"
    # What nobody reads is skipped, whatever bytes it is made of.
    before = json.loads(body.decode(errors="replace"))["request"]["object"]
    after = jsonpatch.apply_patch(before, json.loads(base64.b64decode(response["patch"])))
    untouched(before, after)
    return "patched"


def untouched(before: Object, after: Object) -> None:
    """Only the scheduler and labels that were not there have changed."""
    assert after["spec"].pop("schedulerName", "") in (
        before["spec"].get("schedulerName", ""), "spillover-scheduler",
    )  # fmt: skip
    labels = after["metadata"].pop("labels", None) or {}
    assert (before["metadata"].get("labels") or {}).items() <= labels.items()
    rest = copy.deepcopy(before)
    rest["spec"].pop("schedulerName", None)
    rest["metadata"].pop("labels", None)
    assert after == rest


async def test_good_reviews() -> None:
    async with webhook() as client:
        outcomes = []
        for path, documents in DOCUMENTS.items():
            for document in documents:
                body = json.dumps(document).encode()
                status, answer = await send(client, path, body)
                assert answer["response"]["uid"] == document["request"]["uid"]
                outcomes.append(check(body, status, answer))
    assert outcomes == ["patched", "allowed", "allowed", "allowed", "allowed"]


OLD = {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "x"}}


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[" * 100_000, b"\xff", json.dumps(OLD).encode()],
)
async def test_what_is_no_review_is_a_400(body: bytes) -> None:
    async with webhook() as client:
        for path in PATHS:
            status, answer = await send(client, path, body)
            assert status == 400
            assert answer["error"]


@pytest.mark.timeout(3600)  # of the full count
async def test_mutated_reviews(caplog: pytest.LogCaptureFixture, *, full: bool) -> None:
    chance = Random(SEED)
    outcomes: Counter[str] = Counter()
    async with webhook() as client:
        for _ in range(100_000 if full else 3_000):
            path = chance.choice([PATHS[0], PATHS[0], *PATHS])
            body = mutated(chance, chance.choice(DOCUMENTS[path]))
            status, answer = await send(client, path, body)
            outcomes[check(body, status, answer)] += 1
    print(f"{outcomes.total()} reviews: {dict(outcomes)}")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert min(outcomes[each] for each in ("patched", "allowed", "refused", "unreadable")) > 0


DEPTH = 20_000
"""More than any version of Python follows."""


def deep_review(new: Object, old: Object) -> bytes:
    document = review("ResourcePolicy", "scheduling.alibabacloud.com", "UPDATE", new, old)
    deep = '{"f":' * DEPTH + "0" + "}" * DEPTH
    return json.dumps(document).replace('"DEEP"', deep).encode()


async def test_a_policy_that_was_stored_deep_can_be_mended_and_deleted() -> None:
    deep = {**ACK, "spec": {**ACK["spec"], "more": "DEEP"}}
    leaving = {**deep, "metadata": {**ACK["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    async with webhook() as client:
        for new, old, allowed in ((deep, ACK, False), (ACK, deep, True), (leaving, deep, True)):
            status, answer = await send(client, PATHS[1], deep_review(new, old))
            assert status == 200
            assert answer["response"]["allowed"] is allowed
