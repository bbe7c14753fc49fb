"""The predictive autoscaler by the vendor's tutorial: its object, its columns, its chart."""

import base64
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from ahpa.conftest import STEP, Place
from ahpa.objects import ahpa, hpa, past
from ahpa.site import API, API_SERVICE, Site
from harness.client import ClusterError
from harness.containers import Container
from harness.panels import Panel, load, substituted
from harness.places import ROOT

DASHBOARD = ROOT / "manifests" / "overlays" / "ahpa-monitoring" / "dashboard.json"
HEADER = (
    "NAME STRATEGY REFERENCE METRIC TARGET(%) CURRENT(%) DESIREDPODS REPLICAS MINPODS MAXPODS AGE"
)
SCALED = ("deployments", "horizontalpodautoscalers")
PATH = "/apis/metrics.alibabacloud.com/v1beta1/namespaces/{}/predictionsobserver/{}"


def rows(place: Place) -> list[list[str]]:
    """What `kubectl get ahpa` prints, without the age."""
    text = place.site.cluster.kubectl("get", "ahpa", "-n", place.namespace)
    header, *found = text.splitlines()
    assert header.split() == HEADER.split()
    return [row.split()[:-1] for row in found]


def condition(found: dict[str, Any], kind: str) -> tuple[str, str]:
    conditions = found.get("status", {}).get("conditions", [])
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == kind), ("", ""))


def loads(place: Place, replica_set: str, *values: float) -> None:
    """The utilisation of each pod."""
    pods = {f"{replica_set}-{n:05}": value for n, value in enumerate(values)}
    place.site.exporter.set(place.namespace, pods)


def test_the_tutorials_rows(place: Place) -> None:
    """Byte for byte, but for the age: under observer the bounds are not applied."""
    name = "bert-intent-detection"
    with place.site.prometheus():
        replica_set = place.deploy(name, 1)
        loads(place, replica_set, 0)
        place.site.cluster.apply(ahpa(place.namespace, "fib-gpu", name))
        idle = ["fib-gpu", "observer", name, "gpu", "20", "0", "0", "1", "10", "50"]
        place.site.until(lambda: rows(place) == [idle], 30, "the first row")
        place.deploy(name, 4)
        loads(place, replica_set, 50, 50, 49, 40)
        busy = ["fib-gpu", "observer", name, "gpu", "20", "189", "10", "4", "10", "50"]
        place.site.until(lambda: rows(place) == [busy], 30, "the second row")
        found = place.site.get(place.namespace, "fib-gpu")
        assert condition(found, "ModelAvailable") == ("False", "InsufficientHistory")
        assert condition(found, "ScalingActive") == ("False", "Observer")
        wide = place.site.cluster.kubectl("get", "ahpa", "-n", place.namespace, "-o", "wide")
        assert wide.split()[10:15] == ["AGE", "PERIODIC", "PROACTIVE", "REACTIVE", "REASON"]


def test_observer_writes_no_scale(place: Place, *, full: bool) -> None:
    """Under a load that changes all the time."""
    name = "watched"
    with place.site.prometheus():
        replica_set = place.deploy(name, 3)
        place.site.cluster.apply(ahpa(place.namespace, name, name))
        deadline = time.monotonic() + (600 if full else 20)
        seen = set()
        number = 0
        while time.monotonic() < deadline:
            number += 1
            loads(place, replica_set, *(37.0 * number * factor % 100 for factor in (1, 2, 3)))
            found = place.site.get(place.namespace, name)
            seen.add(found.get("status", {}).get("reactiveReplicas"))
            time.sleep(0.5)
        assert len(seen) > 3, "the load did change"
    writes = [
        entry
        for entry in place.site.cluster.requests()
        if (where := entry.get("objectRef", {})).get("namespace") == place.namespace
        and (where.get("subresource") == "scale" or where["resource"] in SCALED)
        and entry["verb"] not in ("get", "list", "watch")
    ]
    assert writes == []
    assert place.replicas(name) == 3


def day(part: float) -> float:
    """A rhythm with its top in the middle of the day."""
    return 20 + 60 * max(0.0, 1 - abs(part - 0.5) * 4)


def test_the_chart(place: Place) -> None:
    name = "charted"
    replica_set = place.deploy(name, 2)
    pods = [f"{replica_set}-00000", f"{replica_set}-00001"]
    lines = [*past(place.namespace, pods[0], day, STEP, time.time())]
    lines += [line.replace(pods[0], pods[1]) for line in lines[1:]]
    loads(place, replica_set, day(0), day(0))
    cluster = place.site.cluster
    with place.site.prometheus(lines, folder="prometheus-chart"):
        cluster.apply(ahpa(place.namespace, "fib-gpu", name))
        place.site.until(
            lambda: (
                condition(place.site.get(place.namespace, "fib-gpu"), "ModelAvailable")[0] == "True"
            ),
            30,
            "a forecast",
        )
        path = PATH.format(place.namespace, "fib-gpu")
        answer = json.loads(cluster.kubectl("get", "--raw", path))
        page = base64.b64decode(answer["content"]).decode()
        assert len(page) < 2**20
        for title in ("Predict GPU Resource Observer", "Predict POD Observer"):
            assert page.count(f"<h2>{title}</h2>") == 1
        assert page.count('<path class="actual" d="M') == 4, "two figures, each with its legend"
        assert page.count('<path class="predicted" d="M') == 4
        assert "http" not in page
        assert "<script" not in page
        assert re.search(r"Load below forecast, last 7 days</th><td>(100|9[0-9])\.", page)
        listed = json.loads(cluster.kubectl("get", "--raw", path.rpartition("/")[0]))
        assert [item["metadata"]["name"] for item in listed["items"]] == ["fib-gpu"]
        assert "predictionsobserver" in cluster.kubectl(
            "api-resources", "--api-group=metrics.alibabacloud.com"
        )
        with pytest.raises(ClusterError, match=r"NotFound|not found"):
            cluster.kubectl("get", "--raw", PATH.format(place.namespace, "nobody"))


def test_who_may_see_a_chart(place: Place) -> None:
    """RBAC decides, and nobody gets past the API server."""
    cluster = place.site.cluster
    cluster.apply(ahpa(place.namespace, "fib-gpu", "nothing"))
    path = PATH.format(place.namespace, "fib-gpu")
    account = f"--as=system:serviceaccount:{place.namespace}:default"
    with pytest.raises(ClusterError, match=r"Forbidden|forbidden"):
        cluster.kubectl("get", "--raw", path, account)
    cluster.kubectl(
        "create", "rolebinding", "sees", "--clusterrole=view",
        f"--serviceaccount={place.namespace}:default", "-n", place.namespace,
    )  # fmt: skip

    def seen() -> bool:
        return "content" in json.loads(cluster.kubectl("get", "--raw", path, account))

    place.site.until(seen, 30, "a viewer sees it")
    assert asked_past_the_api_server(place.site.containers[0], path, {}) == 401
    forged = {"X-Remote-User": "system:admin", "X-Remote-Group": "system:masters"}
    assert asked_past_the_api_server(place.site.containers[0], path, forged) == 401


def asked_past_the_api_server(container: Container, path: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(f"https://{container.address}:8446{path}", headers=headers)
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 - who answers does not matter
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        kind = json.load(error)["kind"]
        return error.code if kind == "Status" else -1


def test_replicas_are_there_before_the_load(place: Place) -> None:
    """A step from 100 to 200 at one time of each day. Three minutes of a day are three seconds
    here."""
    name = "stepped"
    replica_set = place.deploy(name, 5)
    length = 1440 * STEP
    begun = time.time()
    at = (begun + 55 * STEP) % length / length  # the step comes in so many seconds

    def stepped(part: float) -> float:
        return 40.0 if (part - at) % 1 < 0.4 else 20.0

    pods = [f"{replica_set}-{n:05}" for n in range(5)]
    lines = [*past(place.namespace, pods[0], stepped, STEP, begun)]
    lines += [line.replace(pods[0], pod) for pod in pods[1:] for line in lines[1 : 7 * 1440 + 1]]
    loads(place, replica_set, *[20.0] * 5)
    with place.site.prometheus(lines, folder="prometheus-step"):
        place.site.cluster.apply(
            ahpa(
                place.namespace, name, name, scaleStrategy="auto", minReplicas=1,
                prediction={"quantile": 95, "scaleUpForward": 3},
            )
        )  # fmt: skip
        place.site.until(lambda: place.replicas(name) == 10, 120, "growth before the load")
        early = (begun + 55 * STEP) - time.time()
        print(f"grown {early:.1f} s before the step, of a day of {length} s")
        assert 0 < early < 15 * STEP, "not after 08:59, and not before 08:45"
        found = place.site.get(place.namespace, name)["status"]
        assert found["reactiveReplicas"] == 5
        assert found["proactiveReplicas"] == 10
        assert condition({"status": found}, "ScalingActive") == ("True", "ValidMetricFound")
        events = place.site.cluster.kubectl("get", "events", "-n", place.namespace)
        assert "New size: 10, before: 5; by the forecast: reactive 5, proactive 10" in events


def test_a_sudden_load_wins_at_once_and_goes_after_the_window(place: Place) -> None:
    name = "sudden"
    with place.site.prometheus():
        replica_set = place.deploy(name, 2)
        loads(place, replica_set, 20, 20)
        place.site.cluster.apply(
            ahpa(
                place.namespace, name, name, scaleStrategy="auto", minReplicas=1,
                stabilizationWindowSeconds=10,
            )
        )  # fmt: skip
        place.site.until(
            lambda: condition(place.site.get(place.namespace, name), "ScalingActive")[0] == "True",
            30,
            "the object is looked at",
        )
        loads(place, replica_set, 80, 80)
        place.site.until(lambda: place.replicas(name) == 8, 30, "four times as many")
        loads(place, replica_set, 20, 20)
        fell = time.monotonic()
        place.site.until(lambda: place.replicas(name) == 2, 60, "fewer after the window")
        assert time.monotonic() - fell > 8


def test_an_hpa_gets_another_minimum_and_its_own_back(place: Place) -> None:
    name = "held"
    cluster = place.site.cluster
    with place.site.prometheus():
        replica_set = place.deploy(name, 1)
        loads(place, replica_set, 160)
        cluster.apply(hpa(place.namespace, name, name, 1))
        aimed = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "name": name,
        }
        cluster.apply(
            ahpa(
                place.namespace, name, name, scaleStrategy="auto", minReplicas=1,
                scaleTargetRef=aimed,
            )
        )  # fmt: skip

        def least() -> str:
            return cluster.kubectl(
                "get", "hpa", name, "-n", place.namespace, "-o", "jsonpath={.spec.minReplicas}"
            )

        place.site.until(lambda: least() == "8", 30, "the minimum is moved")
        place.site.until(lambda: place.replicas(name) == 8, 60, "the HPA follows it")
        cluster.kubectl("delete", "ahpa", name, "-n", place.namespace)
        place.site.until(lambda: least() == "1", 30, "the HPA has its own minimum back")
        text = cluster.kubectl("get", "hpa", name, "-n", place.namespace, "-o", "json")
        assert "spillover.dev/ahpa" not in text


def test_it_never_fights_another_autoscaler(place: Place) -> None:
    name = "fought"
    with place.site.prometheus():
        replica_set = place.deploy(name, 2)
        loads(place, replica_set, 100, 100)
        place.site.cluster.apply(
            hpa(place.namespace, "other", name, 1),
            ahpa(place.namespace, name, name, scaleStrategy="auto", minReplicas=1),
        )
        place.site.until(
            lambda: (
                condition(place.site.get(place.namespace, name), "AbleToScale")
                == ("False", "AnotherAutoscaler")
            ),
            30,
            "it says so",
        )
        events = place.site.cluster.kubectl("get", "events", "-n", place.namespace)
        assert "HorizontalPodAutoscaler other scales Deployment fought too" in events
        assert place.replicas(name) == 2
        place.site.cluster.kubectl("delete", "hpa", "other", "-n", place.namespace)
        place.site.until(lambda: place.replicas(name) == 10, 30, "then it scales")


def test_prometheus_is_down_and_talks_nonsense(place: Place, *, full: bool) -> None:
    name = "blind"
    cluster = place.site.cluster
    replica_set = place.deploy(name, 2)

    def active() -> tuple[str, str]:
        return condition(place.site.get(place.namespace, name), "ScalingActive")

    loads(place, replica_set, 60, 60)
    with place.site.prometheus(folder="prometheus-down"):
        cluster.apply(ahpa(place.namespace, name, name, scaleStrategy="auto", minReplicas=1))
        place.site.until(lambda: place.replicas(name) == 6, 30, "it scales")
    place.site.until(lambda: active() == ("False", "SourceUnavailable"), 30, "it says so")
    unchanged(place, name, 300 if full else 8)
    # A number that somebody lowers is restored while the last one is held.
    cluster.kubectl("scale", "deployment", name, "-n", place.namespace, "--replicas=3")
    place.site.until(lambda: place.replicas(name) == 6, 30, "the last number is held")
    for nonsense in (
        b"<html>502</html>", b'{"status":"success","data":{"resultType":"matrix","result":[7]}}',
        b'{"status":"error","error":"execution: too many samples"}', b"[" * 100_000, b"",
    ):  # fmt: skip
        with place.site.nonsense(nonsense):
            unchanged(place, name, 12 if full else 2)
            assert active() == ("False", "SourceUnavailable")
    with place.site.prometheus(folder="prometheus-down"):
        place.site.until(lambda: active()[0] == "True", 30, "back to normal")
    assert place.replicas(name) == 6


def unchanged(place: Place, name: str, seconds: float) -> None:
    before, deadline = place.replicas(name), time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert place.replicas(name) == before
        time.sleep(0.3)


def test_errors_name_their_fields(place: Place) -> None:
    """By the webhook, at `kubectl apply`, all at once."""
    bad = ahpa(
        place.namespace, "bad", "x", maxReplicas=5, prediction={"quantile": 1},
        instanceBounds=[{"bounds": [{"cron": "* * *"}]}],
    )  # fmt: skip
    with pytest.raises(ClusterError) as refused:
        place.site.cluster.apply(bad)
    for path in (
        "spec.maxReplicas: 5 is below minReplicas, 10",
        "spec.prediction.quantile: '1' can be read as 1 % and as 100 %",
        "spec.instanceBounds[0].bounds[0].cron: must have five fields",
    ):
        assert path in str(refused.value)
    text = place.site.cluster.kubectl(
        "apply", "-f", "-", "-o", "name",
        stdin=json.dumps(ahpa(place.namespace, "odd", "x", scaleStrategy="atuo")),
    )  # fmt: skip
    assert "odd" in text
    place.site.until(
        lambda: (
            condition(place.site.get(place.namespace, "odd"), "Invalid")
            == ("True", "UnknownStrategy")
        ),
        30,
        "it says so",
    )


def test_bounds_by_time(place: Place) -> None:
    name = "timed"
    with place.site.prometheus():
        replica_set = place.deploy(name, 2)
        loads(place, replica_set, 1, 1)
        always = {
            "startTime": "2020-01-01 00:00:00",
            "endTime": "2099-01-01 00:00:00",
            "bounds": [{"cron": "* * ? * *", "minReplicas": 4, "maxReplicas": 15}],
        }
        place.site.cluster.apply(
            ahpa(
                place.namespace, name, name, scaleStrategy="auto", minReplicas=1,
                instanceBounds=[always],
            )
        )  # fmt: skip
        place.site.until(lambda: place.replicas(name) == 4, 30, "the bound of now")
        (row,) = rows(place)
        assert row[-2:] == ["4", "15"]


def test_another_replica_takes_over(place: Place) -> None:
    name = "led"
    with place.site.prometheus():
        replica_set = place.deploy(name, 2)
        loads(place, replica_set, 20, 20)
        place.site.cluster.apply(
            ahpa(place.namespace, name, name, scaleStrategy="auto", minReplicas=1)
        )
        leader = place.site.leader()
        with leader.held_down():
            loads(place, replica_set, 60, 60)
            place.site.until(lambda: place.replicas(name) == 6, 60, "the other replica scales")
            assert place.site.leader() != leader
            path = PATH.format(place.namespace, name)
            assert "content" in place.site.cluster.kubectl("get", "--raw", path)


def test_the_dashboard_shows_the_numbers(place: Place) -> None:
    """By the metrics of the leading replica alone."""
    name = "shown"
    with place.site.prometheus() as prometheus:
        replica_set = place.deploy(name, 2)
        loads(place, replica_set, 50, 50)
        place.site.cluster.apply(ahpa(place.namespace, name, name))
        shown = {
            "Pods by forecast and load": {f"{name}: load": 5.0},
            "Desired pods and bounds": {
                f"{name}: desired": 5.0, f"{name}: fewest": 10.0, f"{name}: most": 50.0
            },
            "Load": {f"{name}: gpu": 100.0},
            "Load of one pod that is aimed at": {f"{name}: gpu": 20.0},
        }  # fmt: skip
        panels = load(DASHBOARD)
        assert {panel.title for panel in panels} == shown.keys()
        for panel in panels:

            def values(panel: Panel = panel) -> dict[str, float]:
                return {
                    query.name(series.labels): series.last
                    for query in panel.queries
                    for series in prometheus.query(
                        substituted(query.expression, {"namespace": place.namespace})
                    )
                }

            place.site.until(lambda: values() == shown[panel.title], 30, panel.title)  # noqa: B023 - called here


def test_namespaces_can_be_deleted_again_when_both_servers_are_back(place: Place) -> None:
    """A registered group that nobody serves holds up every deletion of a namespace. It goes on when
    a server is back, and nothing hangs after an uninstallation in the order of the docs."""
    cluster = place.site.cluster
    one, two = place.site.containers
    cluster.kubectl("create", "namespace", f"{place.namespace}-a")
    with one.held_down(), two.held_down():
        cluster.kubectl(
            "wait", "--for=condition=Available=false", f"apiservice/{API_SERVICE}", "--timeout=60s"
        )
        cluster.kubectl("get", "pods", "-n", place.namespace)
        cluster.kubectl("delete", "namespace", f"{place.namespace}-a", "--wait=false")
        place.site.until(
            lambda: "NamespaceDeletionDiscoveryFailure" in cluster.kubectl(
                "get", "namespace", f"{place.namespace}-a", "-o", "yaml"
            ),
            60,
            "the deletion waits",
        )  # fmt: skip
    begun = time.monotonic()
    gone(place.site, f"{place.namespace}-a")
    print(f"the namespace was gone {time.monotonic() - begun:.0f} s after the servers were back")
    cluster.kubectl("delete", "-k", str(API))
    try:
        with one.held_down(), two.held_down():
            cluster.kubectl("create", "namespace", f"{place.namespace}-b")
            cluster.kubectl("delete", "namespace", f"{place.namespace}-b", "--wait=false")
            gone(place.site, f"{place.namespace}-b")
    finally:
        cluster.kubectl("apply", "-k", str(API))


def gone(site: Site, namespace: str) -> None:
    def is_gone() -> bool:
        names = site.cluster.kubectl("get", "namespaces", "-o", "name")
        return f"namespace/{namespace}" not in names.split()

    site.until(is_gone, 120, f"{namespace} is gone")
