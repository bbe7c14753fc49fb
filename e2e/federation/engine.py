"""A stand-in for KubeAdmiral: what its controllers do, for Deployments in the mode Divide.

    hub: Deployment, PropagationPolicy, OverridePolicy      members: Deployments, pods
          │                                                        │ changed, 10 s later
          ▼                                                        ▼
    FederatedObject: template ─▶ placement, overrides ◀─ auto-migration-info
          │
          └─▶ Deployment in each member;   hub's Deployment: status, acknowledgements

It reads and writes the same objects and annotations as the real one. `planning.py` and
`migration.py` decide; they are checked against recordings of the real one.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from federation import migration, objects
from federation.objects import API, Object, OverrideError, annotations, key_of
from federation.planning import Policy, Situation, planned, policy_of
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

LOOK_SECONDS = 0.2
HOP_SECONDS = 10.0
"""From a change of a member's Deployment or pods to a look at its pods."""
_SUMS = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")


@dataclass
class _Watched:
    """What is remembered of one workload."""

    seen: str = ""
    """The members' Deployments and the conditions of their pods, at the last look."""
    due: list[float] = field(default_factory=list)
    """When the pods of the members are looked at."""


class Engine:
    """`members` are sessions by the name of the cluster."""

    def __init__(self, hub: ApiSession, members: Mapping[str, ApiSession]) -> None:
        self._hub = hub
        self._members = members
        self._watched: dict[str, _Watched] = {}

    async def run(self) -> None:
        """Never returns."""
        while True:
            # After a conflict, or while an API server is away: with the next look.
            with suppress(ApiError, NoAnswerError):
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        sources = await _listed(self._hub, "/apis/apps/v1/deployments")
        policies, overrides, federated = [
            {key_of(each): each for each in await _listed(self._hub, f"{API}/{plural}")}
            for plural in ("propagationpolicies", "overridepolicies", "federatedobjects")
        ]
        for source in sources:
            labels, namespace = source["metadata"].get("labels") or {}, _namespace(source)
            policy = policies.get(f"{namespace}/{labels.get(objects.POLICY_LABEL)}")
            if policy is not None:
                override = overrides.get(f"{namespace}/{labels.get(objects.OVERRIDE_LABEL)}")
                await self._reconcile(
                    source,
                    policy,
                    override,
                    federated.get(f"{namespace}/{_federated_name(source)}"),
                )

    async def _reconcile(
        self, source: Object, policy: Object, override: Object | None, known: Object | None
    ) -> None:
        here = await self._in_members(source)
        rules = policy_of(policy["spec"])
        federated = known or _new_federated(source)
        before = json.dumps(federated, sort_keys=True)
        federated["spec"]["template"] = objects.template_of(source)
        if rules.threshold is not None:
            self._migrate(federated, rules.threshold, here)
        else:
            annotations(federated).pop(objects.MIGRATION_INFO, None)
        limits = objects.limits_of(source)
        if limits is not None:
            _set_applied(federated, limits)
        self._plan(federated, policy, rules, key_of(source))
        try:
            template = federated["spec"]["template"]
            patches = {
                each: objects.patches_of(override, template, each) for each in rules.preferences
            }
        except OverrideError as error:
            # Nothing is propagated while one of the controllers has not done its work.
            annotations(federated)[objects.PENDING] = json.dumps([[objects.OVERRIDES]])
            if json.dumps(federated, sort_keys=True) != before:
                await self._store(federated, known)
            await self._failed(source, str(error))
            return
        objects.with_placement(federated, objects.placement_of(federated), patches)
        annotations(federated)[objects.PENDING] = "[]"
        if json.dumps(federated, sort_keys=True) != before:
            await self._store(federated, known)
        await self._acknowledge(source, federated)
        await self._sync(source, federated, here)
        await self._write_status(source, here)

    # --- the scheduler --------------------------------------------------------------------------

    def _plan(self, federated: Object, policy: Object, rules: Policy, key: str) -> None:
        """Plans anew if one of the inputs has changed since the last plan."""
        notes = annotations(federated)
        info = json.loads(notes.get(objects.MIGRATION_INFO, "{}"))
        applied = json.loads(notes.get(objects.APPLIED_MIGRATION, "{}"))
        wanted = federated["spec"]["template"]["spec"]["replicas"]
        triggers = objects.fingerprint([wanted, info, applied, policy["spec"]])
        if notes.get(objects.TRIGGERS) == triggers:
            return
        now = Situation(
            wanted=wanted,
            current=objects.placement_of(federated),
            estimated=info.get("estimatedCapacity", {}),
            scheduled=info.get("scheduledReplicas", {}),
            limited=applied.get("limitedCapacity", {}),
        )
        notes[objects.TRIGGERS] = triggers
        objects.with_placement(federated, planned(rules, key, now), {})

    # --- the automigration controller -----------------------------------------------------------

    def _migrate(self, federated: Object, threshold: float, here: "_Here") -> None:
        """Looks at the pods of the members a while after their last change, and when the next pod
        has been unschedulable for `threshold` seconds."""
        watched = self._watched.setdefault(federated["metadata"]["name"], _Watched())
        now = time.time()
        seen = objects.fingerprint(
            [
                [deployment, [migration.scheduled_condition(pod) for pod in pods]]
                for deployment, pods in here.values()
            ]
        )
        if seen != watched.seen:
            watched.seen = seen
            watched.due.append(now + HOP_SECONDS)
        if not any(due <= now for due in watched.due):
            return
        watched.due = [due for due in watched.due if due > now]
        found = {
            cluster: migration.found(deployment, pods, threshold, now)
            for cluster, (deployment, pods) in here.items()
            if deployment is not None
        }
        watched.due += [now + each.look_again for each in found.values() if each.look_again]
        capacities = {
            cluster: each.capacity for cluster, each in found.items() if each.capacity is not None
        }
        info: Object = {"scheduledReplicas": {name: each.scheduled for name, each in found.items()}}
        if capacities:
            info["estimatedCapacity"] = capacities
        annotations(federated)[objects.MIGRATION_INFO] = json.dumps(info, sort_keys=True)

    # --- the members ----------------------------------------------------------------------------

    async def _in_members(self, source: Object) -> "_Here":
        """The Deployment and its pods in each member."""
        labels = source["spec"]["selector"]["matchLabels"]
        selector = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
        found: _Here = {}
        for cluster, session in self._members.items():
            try:
                raw = await session.request("GET", _path(source))
                deployment = msgspec.json.decode(raw)
                pods = await _listed(
                    session, f"/api/v1/namespaces/{_namespace(source)}/pods", selector
                )
                found[cluster] = (deployment, pods)
            except NoAnswerError:
                continue
            except ApiError as error:
                if error.status != 404:
                    continue
                found[cluster] = (None, [])
        return found

    async def _sync(self, source: Object, federated: Object, here: "_Here") -> None:
        template = federated["spec"]["template"]
        generation = str(template["metadata"]["generation"])
        placement = objects.placement_of(federated)
        patches: dict[str, list[Object]] = {}
        for each in federated["spec"]["overrides"]:
            for of in each["clusters"]:
                patches.setdefault(of["cluster"], []).extend(of["patches"])
        for cluster, (deployment, _) in here.items():
            session = self._members[cluster]
            if cluster not in placement:
                if deployment is not None:
                    await session.request("DELETE", _path(source))
                continue
            wanted = objects.patched(template, patches[cluster])
            wanted["metadata"].pop("generation")
            wanted["metadata"]["annotations"][objects.SOURCE_GENERATION] = generation
            wanted["metadata"]["labels"][objects.MANAGED_LABEL] = "true"
            if deployment is None:
                await session.request("POST", _path(source).rpartition("/")[0], body=wanted)
                continue
            is_current = (
                annotations(deployment).get(objects.SOURCE_GENERATION) == generation
                and deployment["spec"]["replicas"] == wanted["spec"]["replicas"]
                and deployment["spec"]["template"]["metadata"].get("annotations")
                == wanted["spec"]["template"]["metadata"].get("annotations")
            )
            if not is_current:
                wanted["metadata"]["resourceVersion"] = deployment["metadata"]["resourceVersion"]
                await session.request("PUT", _path(source), body=wanted)

    # --- the hub --------------------------------------------------------------------------------

    async def _store(self, federated: Object, known: Object | None) -> None:
        namespace = federated["metadata"]["namespace"]
        path = f"{API}/namespaces/{namespace}/federatedobjects"
        if known is None:
            raw = await self._hub.request("POST", path, body=federated)
        else:
            name = federated["metadata"]["name"]
            raw = await self._hub.request("PUT", f"{path}/{name}", body=federated)
        federated["metadata"] = msgspec.json.decode(raw)["metadata"]

    async def _acknowledge(self, source: Object, federated: Object) -> None:
        said = annotations(source)
        placement = objects.placement_of(federated)
        wanted: dict[str, str | None] = {}
        if json.loads(said.get(objects.SCHEDULING, "{}")).get("placement") != placement:
            scheduling = {
                "sourceGeneration": source["metadata"]["generation"],
                "fedGeneration": federated["metadata"]["generation"],
                "placement": placement,
            }
            wanted[objects.SCHEDULING] = json.dumps(scheduling, sort_keys=True)
        applied = annotations(federated).get(objects.APPLIED_MIGRATION)
        if said.get(objects.APPLIED_MIGRATION) != applied:
            wanted[objects.APPLIED_MIGRATION] = applied
        if wanted:
            await self._hub.request(
                "PATCH", _path(source), body={"metadata": {"annotations": wanted}},
                content_type=MERGE_PATCH,
            )  # fmt: skip

    async def _write_status(self, source: Object, here: "_Here") -> None:
        statuses = [each.get("status", {}) for each, _ in here.values() if each is not None]
        sums = {name: sum(each.get(name, 0) for each in statuses) for name in _SUMS}
        said = source.get("status", {})
        if any(said.get(name, 0) != number for name, number in sums.items()):
            await self._hub.request(
                "PATCH", f"{_path(source)}/status", body={"status": sums}, content_type=MERGE_PATCH
            )

    async def _failed(self, source: Object, message: str) -> None:
        namespace, name = _namespace(source), source["metadata"]["name"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.override", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "namespace": namespace,
            },
            "reason": "ParseOverridePolicyFailed",
            "message": message,
            "type": "Warning",
        }  # fmt: skip
        try:
            await self._hub.request("POST", f"/api/v1/namespaces/{namespace}/events", body=event)
        except ApiError as error:
            if error.status != 409:
                raise


_Here = dict[str, tuple[Object | None, list[Object]]]
"""The Deployment and its pods, by cluster. Without clusters that do not answer."""


async def _listed(
    session: ApiSession, path: str, select: Mapping[str, str] | None = None
) -> list[Object]:
    raw = await session.request("GET", path, params=select)
    listed = msgspec.json.decode(raw, type=dict[str, Any])
    kind = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
    return [{**kind, **each} for each in listed["items"]]


def _namespace(found: Object) -> str:
    return str(found["metadata"]["namespace"])


def _path(source: Object) -> str:
    return f"/apis/apps/v1/namespaces/{_namespace(source)}/deployments/{source['metadata']['name']}"


def _federated_name(source: Object) -> str:
    return f"{source['metadata']['name']}-deployments.apps"


def _new_federated(source: Object) -> Object:
    labels = source["metadata"].get("labels") or {}
    ours = (objects.POLICY_LABEL, objects.OVERRIDE_LABEL)
    return {
        "apiVersion": f"{objects.GROUP}/v1alpha1",
        "kind": "FederatedObject",
        "metadata": {
            "name": _federated_name(source),
            "namespace": _namespace(source),
            "labels": {name: labels[name] for name in ours if name in labels},
            "annotations": {},
        },
        "spec": {},
    }


def _set_applied(federated: Object, limits: Mapping[str, int]) -> None:
    notes = annotations(federated)
    if limits:
        notes[objects.APPLIED_MIGRATION] = json.dumps({"limitedCapacity": limits}, sort_keys=True)
    else:
        notes.pop(objects.APPLIED_MIGRATION, None)
