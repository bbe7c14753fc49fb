"""Spillover as users install it: its image, its manifests as they are, applied with kubectl as the
README says, on a real kubelet. The same scenarios run on kind."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from harness import install
from harness.client import Client, ClusterError, Object
from harness.demo import EXPECTED, FILES, STEPS, distribution, settled
from harness.install import NAMESPACE
from harness.scenes import ACK, deployment, node, pod, policy, virtual_node
from harness.site import Site
from harness.waiting import until
from harness.watch import Watch, is_ready, node_of, scheduling_message
from spillover.api.quantity import parse_quantity

LEASE_SECONDS = 15
SCHEDULER = "spillover-scheduler"


def execute(client: Client, name: str, container: str, *words: str) -> str:
    return client.kubectl("exec", name, "-n", NAMESPACE, "-c", container, "--", *words)


CONTAINERS = (
    ("certificates", "certificates"),
    ("scheduler", "extender"),
    ("webhook", "webhook"),
)
"""Those with a program of ours, each with its component."""


def restarts(client: Client) -> dict[str, int]:
    """By Pod and container, of all that are not being deleted."""
    return {
        f"{each['metadata']['name']}/{status['name']}": status["restartCount"]
        for component in install.DEPLOYMENTS
        for each in install.pods(client, component)
        for status in each["status"]["containerStatuses"]
    }


def test_what_the_readme_says_makes_all_pods_ready(site: Site) -> None:
    assert [command.split()[0] for command in site.commands if "\n" not in command] == [
        "./dev", "docker", "kubectl", "kubectl", "kubectl",
    ]  # fmt: skip
    for component, count in (("certificates", 1), ("scheduler", 2), ("webhook", 2)):
        pods = install.pods(site.client, component)
        assert len(pods) == count
        assert all(map(is_ready, pods))
        assert {node_of(each) for each in pods} == {site.node}
    assert set(restarts(site.client).values()) == {0}
    assert install.leader(site.client)


def test_the_image_that_was_set_is_used_and_not_pulled_again(client: Client) -> None:
    """Without a policy in the manifests, Always would be filled in and stay."""
    for component, container in CONTAINERS:
        text = client.kubectl(
            "get", f"deployment/spillover-{component}", "-n", NAMESPACE, "-o", "json"
        )
        (found,) = (
            each
            for each in json.loads(text)["spec"]["template"]["spec"]["containers"]
            if each["name"] == container
        )
        assert found["image"].startswith("registry.example.com/spillover:")
        assert found["imagePullPolicy"] == "IfNotPresent"


def test_idle_processes_stay_within_their_requests(client: Client) -> None:
    """Above its request, a Pod is the first to be evicted from a node that is short of memory."""
    for component, container in CONTAINERS:
        for each in install.pods(client, component):
            (asked,) = (
                it["resources"]["requests"]["memory"]
                for it in each["spec"]["containers"]
                if it["name"] == container
            )
            program = "print(open('/proc/1/status').read())"
            status = execute(client, each["metadata"]["name"], container, "python", "-c", program)
            (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
            print(f"{container}: {int(kib) / 1024:.0f} MiB of {asked}")
            assert int(kib) * 1024 < parse_quantity(asked)


def test_the_demos_order_and_messages(client: Client) -> None:
    for name in ("nodes.yaml", "policy.yaml", "workload.yaml"):
        client.kubectl("apply", "-f", str(FILES / name))
    try:
        client.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
        with Watch(client, "/api/v1/namespaces/default/pods") as pods:
            for replicas in STEPS:
                client.kubectl("scale", "deployment/inference", f"--replicas={replicas}")
                state = pods.wait_for(
                    partial(settled, replicas=replicas), 90, f"{replicas} replicas settled"
                )
                assert distribution(state) == EXPECTED[replicas]
                messages = {scheduling_message(each) for each in state if not node_of(each)}
                assert all("eci is at its max of 2" in message for message in messages)
                assert bool(messages) == (replicas == 8)
    finally:
        for name in ("workload.yaml", "policy.yaml", "nodes.yaml"):
            client.kubectl("delete", "-f", str(FILES / name), "--wait=true", "--timeout=90s")
        until(lambda: not client.items("pods"), 60, "the demo's pods are gone")


def test_a_bad_policy_is_refused_through_the_service(client: Client, namespace: str) -> None:
    bad = policy(ACK, namespace, "bad", selector={"app": "x"}, units=[{"resource": "moon"}])
    with pytest.raises(ClusterError) as refused:
        client.create(bad)
    assert "policies.spillover.dev" in str(refused.value)
    assert "spec.units[0].resource" in str(refused.value)
    assert client.items("resourcepolicies.scheduling.alibabacloud.com", "-n", namespace) == []


def test_a_pod_that_the_webhook_routed_runs_on_the_real_node(
    site: Site, client: Client, namespace: str
) -> None:
    client.add_nodes(node("simulated", gpus=0, labels={"pool": "second"}))
    client.create(
        policy(
            ACK,
            namespace,
            "two",
            selector={"app": "two"},
            units=[
                {
                    "resource": "ecs",
                    "nodeSelector": {"kubernetes.io/hostname": site.node},
                    "max": 1,
                },
                {"resource": "ecs", "nodeSelector": {"pool": "second"}, "max": 1},
            ],
        )
    )
    workload = deployment(namespace, "two", "default-scheduler", replicas=1, gpus=0)
    del workload["spec"]["template"]["spec"]["schedulerName"]
    with Watch(client, f"/api/v1/namespaces/{namespace}/pods") as pods:
        client.create(workload)
        (first,) = pods.wait_for(
            lambda found: len(found) == 1 and is_ready(found[0]), 60, "the first pod runs"
        )
        assert first["spec"]["schedulerName"] == SCHEDULER
        assert node_of(first) == site.node
        (status,) = first["status"]["containerStatuses"]
        assert status["containerID"].startswith("containerd://")
        client.kubectl("scale", "deployment/two", "-n", namespace, "--replicas=3")
        found = pods.wait_for(
            lambda found: sum(map(is_ready, found)) == 2 and any(map(scheduling_message, found)),
            60,
            "the second is in the second unit, and the third waits",
        )
    assert sorted(node_of(each) for each in found) == ["", site.node, "simulated"]
    (waiting,) = (each for each in found if not node_of(each))
    assert "at its max of 1" in scheduling_message(waiting)


@contextmanager
def asking(client: Client, namespace: str, answers: list[str]) -> Iterator[None]:
    """Policies are reviewed, one after the other, while the block runs. What a refusal said is
    added to `answers`, and an empty text for each review that went well."""
    stop = threading.Event()
    good = policy(ACK, namespace, "asked", selector={"app": "x"}, units=[{"resource": "ecs"}])

    def ask() -> None:
        while not stop.is_set():
            try:
                client.kubectl(
                    "create", "--dry-run=server", "-o", "name", "-f", "-", stdin=json.dumps(good)
                )
            except (ClusterError, subprocess.TimeoutExpired) as error:
                answers.append(str(error))
            else:
                answers.append("")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=130)


def misplaced(events: list[tuple[str, Object]], units: dict[str, int]) -> tuple[list[str], int]:
    """Pods that went to a unit though an earlier one had room, by the watch's order, and how many
    that went to a later unit were judged without doubt. `units` are the first letters of their
    nodes' names, each with its room. A pod that is on its way may have a slot already: its Binding
    may be written after that of the next."""
    bound: dict[str, str] = {}
    on_their_way: set[str] = set()
    wrong = []
    judged = 0
    for _, event in events:
        name, where = event["metadata"]["name"], node_of(event)
        if name in bound:
            continue
        on_their_way.add(name)
        if not where:
            continue
        on_their_way.discard(name)
        bound[name] = where
        used = {unit: sum(each.startswith(unit) for each in bound.values()) for unit in units}
        judged += not on_their_way and not where.startswith(next(iter(units)))
        for unit, room in units.items():
            if where.startswith(unit):
                break
            if used[unit] + len(on_their_way) < room:
                wrong.append(f"{name} on {where}: {used}, on their way: {on_their_way}")
    return wrong, judged


def test_rolling_restart_of_both_while_pods_are_created(client: Client, namespace: str) -> None:
    units = {"prepaid": 12, "virtual": 12, "postpaid": 200}
    client.add_nodes(
        node("prepaid", gpus=units["prepaid"], labels={"pool": "prepaid"}),
        virtual_node("virtual"),
        node("postpaid", gpus=units["postpaid"], labels={"pool": "postpaid"}),
    )
    client.create(
        policy(
            ACK,
            namespace,
            "three",
            selector={"app": "three"},
            units=[
                {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}},
                {"resource": "eci", "max": units["virtual"]},
                {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
            ],
        )
    )
    answers: list[str] = []
    created = 0
    with Watch(client, f"/api/v1/namespaces/{namespace}/pods") as pods:
        with asking(client, namespace, answers):
            for component in install.DEPLOYMENTS:
                client.kubectl(
                    "rollout", "restart", f"deployment/spillover-{component}", "-n", NAMESPACE
                )
            watching = threading.Thread(target=install.wait_ready, args=(client,), daemon=True)
            watching.start()
            while watching.is_alive() or created < 45:
                one = pod(namespace, f"p{created}", "default-scheduler", labels={"app": "three"})
                del one["spec"]["schedulerName"]
                client.create(one)
                created += 1
                watching.join(timeout=0.3)
        found = pods.wait_for(
            lambda found: len(found) == created and all(map(is_ready, found)), 90, "all pods run"
        )
        events = list(pods.events)
    print(f"{created} pods and {len(answers)} reviews of policies during both rollouts")
    assert len(answers) >= 30
    assert [answer for answer in answers if answer] == []
    assert {each["spec"]["schedulerName"] for each in found} == {SCHEDULER}
    wrong, judged = misplaced(events, units)
    assert wrong == []
    assert judged >= 3
    filled = {unit: sum(node_of(each).startswith(unit) for each in found) for unit in units}
    assert (filled["prepaid"], filled["virtual"]) == (units["prepaid"], units["virtual"])
    assert created > sum((units["prepaid"], units["virtual"]))  # the third unit was reached
    install.wait_ready(client)


def test_the_leaders_pod_is_deleted(client: Client, namespace: str) -> None:
    client.add_nodes(node("simulated", gpus=0))
    with Watch(client, f"/api/v1/namespaces/{namespace}/pods") as pods:
        leader = install.leader(client)
        started = time.monotonic()
        client.kubectl("delete", "pod", leader, "-n", NAMESPACE, "--timeout=60s")
        client.create(pod(namespace, "one", SCHEDULER, gpus=0))  # nobody of the old Pod is left
        pods.wait_for(lambda found: bool(found and node_of(found[0])), 90, "the pod is bound")
        seconds = time.monotonic() - started
        print(f"bound {seconds:.1f} s after the leader's Pod was deleted")
        assert seconds < LEASE_SECONDS + 10
        assert install.leader(client) not in ("", leader)
    install.wait_ready(client)


def test_a_container_shows_what_it_runs_as(client: Client) -> None:
    """kubectl exec and logs, and what a process may do inside."""
    program = (
        "import os, pathlib\n"
        "status = pathlib.Path('/proc/self/status').read_text().splitlines()\n"
        "fields = dict(line.split(':', 1) for line in status)\n"
        "print(os.getuid(), fields['CapEff'].strip(), fields['NoNewPrivs'].strip(),"
        " fields['Seccomp'].strip())\n"
        "try:\n"
        "    open('/opt/it', 'w')\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    for component, container in CONTAINERS:
        (name, *_) = (each["metadata"]["name"] for each in install.pods(client, component))
        if component == "scheduler":
            # One that waits for its turn has nothing to say.
            until(lambda: bool(install.leader(client)), 30, "there is a leader")
            name = install.leader(client)
        answer = execute(client, name, container, "python", "-c", program).splitlines()
        assert answer[0].split() == ["65532", "0000000000000000", "1", "2"]
        assert answer[1] == "Read-only file system"
        log = client.kubectl("logs", name, "-n", NAMESPACE, "-c", container).splitlines()
        assert log
        assert all({"ts", "level", "msg"} <= set(json.loads(line)) for line in log)


def test_a_process_that_ends_is_started_again_alone(client: Client) -> None:
    """The scheduler beside the extender goes on, and so does the other replica."""
    before = restarts(client)
    standby = next(
        each["metadata"]["name"]
        for each in install.pods(client, "scheduler")
        if each["metadata"]["name"] != install.leader(client)
    )
    execute(client, standby, "extender", "python", "-c", "import os; os.kill(1, 15)")
    wanted = {**before, f"{standby}/extender": before[f"{standby}/extender"] + 1}
    until(lambda: restarts(client) == wanted, 60, "one restart of one container")
    install.wait_ready(client)


def test_a_webhook_that_ends_is_first_left_alone(client: Client, namespace: str) -> None:
    """preStop holds it until nobody sends to it any more: no review fails."""
    (old, *_) = (each["metadata"]["name"] for each in install.pods(client, "webhook"))
    answers: list[str] = []
    with asking(client, namespace, answers):
        started = time.monotonic()
        client.kubectl("delete", "pod", old, "-n", NAMESPACE, "--wait=true", "--timeout=60s")
        seconds = time.monotonic() - started
        install.wait_ready(client)
    assert seconds >= 5  # preStop's sleep, and then an orderly end
    assert len(answers) >= 10
    assert [answer for answer in answers if answer] == []
    assert not [event for event in events(client) if event["reason"] == "FailedPreStopHook"]


def test_no_probe_of_a_running_container_has_failed(client: Client) -> None:
    """Startup probes fail until a process listens. Liveness must not, in all that happened here."""
    messages = [event["message"] for event in events(client) if event["reason"] == "Unhealthy"]
    assert [message for message in messages if message.startswith("Liveness")] == []


def events(client: Client) -> list[Object]:
    return [
        {"reason": each.get("reason", ""), "message": each.get("message", "")}
        for each in client.items("events", "-n", NAMESPACE)
    ]


def test_pod_security_restricted_has_nothing_to_say(client: Client) -> None:
    """Pods of the Deployments' templates, where the level is enforced and warned of:
    --warnings-as-errors makes each warning an error."""
    label = "pod-security.kubernetes.io"
    levels = [f"{label}/{mode}=restricted" for mode in ("enforce", "warn", "audit")]
    client.kubectl("label", "namespace", NAMESPACE, *levels, "--overwrite")
    try:
        for component in install.DEPLOYMENTS:
            text = client.kubectl(
                "get", f"deployment/spillover-{component}", "-n", NAMESPACE, "-o", "json"
            )
            template = json.loads(text)["spec"]["template"]
            trial = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"trial-{component}", "namespace": NAMESPACE},
                "spec": template["spec"],
            }
            client.kubectl(
                "create", "--dry-run=server", "--warnings-as-errors", "-f", "-",
                stdin=json.dumps(trial),
            )  # fmt: skip
    finally:
        keys = [level.partition("=")[0] + "-" for level in levels]
        client.kubectl("label", "namespace", NAMESPACE, *keys)
