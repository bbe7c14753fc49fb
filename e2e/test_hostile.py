"""What a tenant with one namespace tried on everybody else: see docs/security.md. Each test does
what the attacker did, and then places ordinary pods in another namespace."""

import json
import time
import uuid
from collections.abc import Iterator

import msgspec
import pytest
import yaml

from harness.client import ClusterError
from harness.cluster import Cluster
from harness.containers import Container, extender
from harness.metrics import total
from harness.scenes import ACK, VKE, node, pod, policy
from harness.stage import Scene
from harness.watch import is_ready, node_of
from spillover.kube.credentials import Credentials
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession

SCHEDULER = "spillover-scheduler"
PLACED_SECONDS = 30
"""On a busy machine; a few hundred milliseconds are usual."""
DEPTHS = (1_500, 9_980, 9_985, 9_990, 9_994)
"""Python 3.11 gives up after a thousand levels, 3.13 and the API server shortly before and after
10,000."""


@pytest.fixture
def tenant(cluster: Cluster) -> Iterator[str]:
    """The attacker's namespace."""
    name = f"tenant-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("wait", "--for=create", "sa/default", "-n", name, "--timeout=30s")
    yield name
    # Neither kubectl nor the namespace's controller can read what is nested deeper than 10,000.
    for pod_name in ("deep", "odd"):
        path = f"/api/v1/namespaces/{name}/pods/{pod_name}?gracePeriodSeconds=0"
        cluster.kubectl("delete", "--raw", path, check=False)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(autouse=True)
def nobody_else_is_hurt(
    scene: Scene, tenant: str, request: pytest.FixtureRequest
) -> Iterator[None]:
    """While the attack lasts, ordinary pods are placed at once, by the same processes as before."""
    assert tenant != scene.namespace
    processes = [
        extender(scene.cluster),
        Container(scene.cluster, "spillover-webhook-0", "webhook"),
    ]
    before = [process.pid() for process in processes]
    scene.add_nodes(node("ordinary", gpus=9))
    scene.add(policy(ACK, scene.namespace, "ordinary", selector={"app": "ordinary"},
                     units=[{"resource": "ecs"}]))  # fmt: skip
    yield
    for number in range(3):
        one = pod(scene.namespace, f"ordinary-{number}", "", labels={"app": "ordinary"})
        del one["spec"]["schedulerName"]
        scene.add(one)
    found = scene.pods.wait_for(
        lambda pods: len(pods) == 3 and all(map(is_ready, pods)), PLACED_SECONDS, "3 placed"
    )
    assert {each["spec"]["schedulerName"] for each in found} == {SCHEDULER}
    if "restart" not in request.node.name:
        assert [process.pid() for process in processes] == before


@pytest.mark.parametrize("quantity", ["1e0003", "0" * 70 + "1", "1e-9999", "Ki", "9" * 60])
def test_a_pod_with_an_odd_quantity(scene: Scene, tenant: str, quantity: str) -> None:
    """Finding 1: it stopped the watch of pods for ever."""
    odd = pod(tenant, "odd", SCHEDULER, gpus=0)
    odd["spec"]["containers"][0]["resources"] = {"requests": {"cpu": quantity}}
    scene.add(odd)
    text = scene.cluster.kubectl("get", "pod", "odd", "-n", tenant, "-o", "json")
    assert json.loads(text)["spec"]["containers"][0]["resources"]["requests"]
    assert total(extender(scene.cluster), "spillover_unreadable_objects") == 0


async def test_a_pod_with_deep_fields_and_a_restart(scene: Scene, tenant: str) -> None:
    """Finding 2: it ended the extender, again and again."""
    scene.add(pod(tenant, "deep", SCHEDULER, gpus=0))
    text = scene.cluster.kubectl("get", "pod", "deep", "-n", tenant, "-o", "json")
    found = json.loads(text)
    found["metadata"]["managedFields"] = [
        {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
         "time": "2026-01-01T00:00:00Z", "fieldsV1": "DEEP"}
    ]  # fmt: skip
    del found["metadata"]["resourceVersion"]
    for depth in DEPTHS:
        fields = '{"f:a":' * depth + "{}" + "}" * depth
        body = msgspec.Raw(json.dumps(found).replace('"DEEP"', fields).encode())
        await sent(scene.cluster, "PUT", f"/api/v1/namespaces/{tenant}/pods/deep", body)
    raw = await read(scene.cluster, f"/api/v1/namespaces/{tenant}/pods/deep")
    assert b'{"f:a":' * 9_000 in raw  # the attack was made
    extender(scene.cluster).restart()
    assert total(extender(scene.cluster), "spillover_unreadable_objects") == 0


@pytest.mark.parametrize("where", ["beside", "within"])
async def test_a_policy_with_deep_fields_that_nobody_knows(
    scene: Scene, tenant: str, where: str
) -> None:
    """Findings 2 and 3: it ended extender and webhook, and no policy could be written any more; or
    it ended every watch of policies, also after the object was gone."""
    scene.add(policy(ACK, tenant, "deep", selector={"app": "x"}, units=[{"resource": "ecs"}]))
    path = f"/apis/{ACK}/v1alpha1/namespaces/{tenant}/resourcepolicies/deep"
    for depth in DEPTHS if where == "beside" else (1_500, 9_990):
        deep = '{"f":' * depth + "0" + "}" * depth
        body = f'{{"more": {deep}}}' if where == "beside" else f'{{"spec": {{"more": {deep}}}}}'
        await sent(scene.cluster, "PATCH", path, msgspec.Raw(body.encode()))
    stored = scene.cluster.kubectl("get", "--raw", path)
    assert '"more"' not in stored  # dropped, or refused by the webhook
    scene.cluster.kubectl("delete", f"resourcepolicies.{ACK}", "deep", "-n", tenant, "--wait=true")


async def test_a_deep_policy_that_was_there_before_and_a_restart(scene: Scene, tenant: str) -> None:
    """As if it had been stored before the webhook was there. Not as deep as the API server takes it
    in: what it stores then, it cannot read itself, and lists no policy any more. The webhook
    refuses that much, and an administrator alone can opt a namespace out of it."""
    scene.cluster.kubectl("label", "namespace", tenant, "spillover.dev/webhook=disabled")
    scene.add(policy(ACK, tenant, "deep", selector={"app": "x"}, units=[{"resource": "ecs"}]))
    path = f"/apis/{ACK}/v1alpha1/namespaces/{tenant}/resourcepolicies/deep"
    for depth in (1_500, 9_900):
        deep = '{"f":' * depth + "0" + "}" * depth
        body = msgspec.Raw(f'{{"spec": {{"more": {deep}}}}}'.encode())
        await sent(scene.cluster, "PATCH", path, body)
    assert b'{"f":' * 9_000 in await read(scene.cluster, path)  # the attack was made
    extender(scene.cluster).restart()  # and takes in a list with it
    Container(scene.cluster, "spillover-webhook-0", "webhook").restart()
    scene.cluster.kubectl("delete", f"resourcepolicies.{ACK}", "deep", "-n", tenant, "--wait=true")


def test_names_that_are_repeated_for_each_node(scene: Scene, tenant: str) -> None:
    """Finding 6: answers of 100 MB."""
    named = {"name": "n" * 100_000, "type": "ecs", "maxReplicas": 0}
    with pytest.raises(ClusterError, match="Too long"):
        scene.add(policy(VKE, tenant, "long", selector={"app": "x"}, subsets=[named]))


def test_a_policy_with_a_fault_in_each_of_many_units(scene: Scene, tenant: str) -> None:
    """Finding 7: it kept the webhook busy for ten seconds, and another tenant's pod went to the
    default scheduler."""
    many: list[object] = [{}] * 200_000
    with pytest.raises(ClusterError, match="Too many"):
        scene.add(policy(ACK, tenant, "many", selector={"app": "x"}, units=many))


def test_a_deep_spec_is_refused_with_a_reason(scene: Scene, tenant: str) -> None:
    deep = policy(ACK, tenant, "deep", selector={"app": "x"}, units=[{"resource": "ecs"}])
    text = json.dumps(deep).replace(
        '"selector"', '"more": ' + '{"f":' * 1_500 + "0" + "}" * 1_500 + ', "selector"'
    )
    path = f"/apis/{ACK}/v1alpha1/namespaces/{tenant}/resourcepolicies"
    with pytest.raises(ClusterError, match="nested too deep to be read"):
        scene.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=text)


@pytest.mark.parametrize("name", ["a\u007fb", "\uffff", "a" * 1024])
def test_a_name_that_a_status_cannot_have(scene: Scene, tenant: str, name: str) -> None:
    """Its status was tried again for ever."""
    odd = policy(ACK, tenant, "odd", selector={"app": "x"},
                 units=[{"resource": "ecs", "maxResources": {name: "1"}}])  # fmt: skip
    with pytest.raises(ClusterError, match="is not a qualified name"):
        scene.add(odd)


def test_a_status_that_tells_what_yaml_does_not_take(scene: Scene) -> None:
    """Of a policy that was there before the webhook."""
    odd = policy(ACK, scene.namespace, "odd", selector={"app": "x"}, strategy="\u0085\uffff",
                 units=[{"resource": "ecs", "nodeSelector": {"a\u0085\ufffe": "b"}}])  # fmt: skip
    scene.add_unchecked(odd)
    scene.cluster.kubectl(
        "wait", f"resourcepolicies.{ACK}/odd", "-n", scene.namespace,
        "--for=condition=Invalid", "--timeout=30s",
    )  # fmt: skip


def test_a_pod_that_says_a_terminal_what_to_do(scene: Scene, tenant: str) -> None:
    """Finding 15: in a subset's name, for `spillover explain`."""
    named = {"name": "n\x1b[2J", "type": "ecs", "maxReplicas": 0}
    with pytest.raises(ClusterError, match="all of them printable") as refused:
        scene.add(policy(VKE, tenant, "escape", selector={"app": "x"}, subsets=[named]))
    assert "\x1b" not in str(refused.value)


UNIT_MARK = "spillover.dev/unit"


def attributed(scene: Scene) -> list[str]:
    """A policy with a unit of one pod, and the unit marks of two pods that are bound under it."""
    scene.add_nodes(node("one", gpus=9, labels={"pool": "one"}))
    units = [{"resource": "ecs", "nodeSelector": {"pool": "one"}, "max": 1}, {"resource": "ecs"}]
    scene.add(policy(ACK, scene.namespace, "mine", selector={"app": "mine"}, units=units))
    for number in range(2):
        scene.add(pod(scene.namespace, f"mine-{number}", SCHEDULER, labels={"app": "mine"}))
        scene.pods.wait_for(
            lambda pods: all(map(node_of, pods)), PLACED_SECONDS, "placed one after the other"
        )
    pods = {each["metadata"]["name"]: each for each in scene.pods.objects.values()}
    return [pods[f"mine-{n}"]["metadata"]["annotations"][UNIT_MARK] for n in range(2)]


def remark(scene: Scene, name: str, unit: str, *more: str) -> None:
    scene.cluster.kubectl(
        "annotate", "pod", name, "-n", scene.namespace, f"{UNIT_MARK}={unit}", "--overwrite", *more
    )


def test_a_bound_pod_is_moved_by_its_annotation(scene: Scene) -> None:
    """Finding 12: a unit of one pod held two."""
    first, second = attributed(scene)
    assert first != second
    with pytest.raises(ClusterError, match="are Spillover's"):
        remark(scene, "mine-0", second)
    with pytest.raises(ClusterError, match="are Spillover's"):
        scene.cluster.kubectl(
            "patch", "pod", "mine-0", "-n", scene.namespace, "--subresource=status", "--type=merge",
            "-p", json.dumps({"metadata": {"annotations": {UNIT_MARK: second}}}),
        )  # fmt: skip
    scene.cluster.kubectl("delete", "pods", "--all", "-n", scene.namespace, "--force")


def test_nor_where_the_api_server_lets_it(scene: Scene) -> None:
    """Without the admission policy Spillover believes its own record, and writes it back."""
    first, second = attributed(scene)
    binding = "validatingadmissionpolicybinding/spillover-pods"
    text = scene.cluster.kubectl("get", binding, "-o", "yaml")
    scene.cluster.kubectl("delete", binding)
    try:
        deadline = time.monotonic() + 60
        while True:  # the API server's own view of it is a moment old
            try:
                remark(scene, "mine-0", second)
                break
            except ClusterError:
                assert time.monotonic() < deadline
        scene.add(pod(scene.namespace, "mine-2", SCHEDULER, labels={"app": "mine"}))
        found = scene.pods.wait_for(
            lambda pods: (
                len(pods) == 3
                and all(map(node_of, pods))
                and all(
                    each["metadata"]["annotations"][UNIT_MARK] != second
                    or each["metadata"]["name"] != "mine-0"
                    for each in pods
                )
            ),
            PLACED_SECONDS,
            "the third placed, and the first as it was",
        )
    finally:
        scene.cluster.create(yaml.safe_load(text))
    marks = {each["metadata"]["name"]: each["metadata"]["annotations"][UNIT_MARK] for each in found}
    assert marks == {"mine-0": first, "mine-1": second, "mine-2": second}
    scene.cluster.kubectl("delete", "pods", "--all", "-n", scene.namespace, "--force")


async def read(cluster: Cluster, path: str) -> bytes:
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        return await session.request("GET", path)


async def sent(cluster: Cluster, method: str, path: str, body: msgspec.Raw) -> None:
    """What the API server refuses, it refuses: the attack goes on with the next."""
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        kind = MERGE_PATCH if method == "PATCH" else "application/json"
        try:
            await session.request(method, path, body=body, content_type=kind)
        except ApiError as error:
            print(f"{method} {path}: {str(error)[:200]}")
