"""`spillover federation`: check, status, agent and gc."""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from spillover.api import ack, vke
from spillover.api.errors import harmless
from spillover.cli.render import table
from spillover.cli.snapshot import Snapshot, take
from spillover.core.model.conventions import DEFAULT_SCHEDULERS, NodeConventions
from spillover.core.model.policy import Policy
from spillover.core.model.timestamps import instant_of, seconds_of
from spillover.core.reporting.fit import NOT_USED
from spillover.federation.agent.leases import PREFIX
from spillover.federation.deployments import deployed
from spillover.federation.fleet_table import FleetRow, fleet_rows
from spillover.federation.kubeadmiral import (
    GROUP,
    MANAGED_LABEL,
    MIGRATION,
    POLICY_LABEL,
    limits_of,
    propagation,
    with_limits,
)
from spillover.federation.memberreport import PATH, from_wire
from spillover.federation.room import (
    GROWS_TO_ANNOTATION,
    NodeState,
    NodeStates,
    grows_to,
    is_bounded,
    rooms,
    total,
)
from spillover.federation.traps import Finding, Hub, Member, findings
from spillover.kube.credentials import Credentials, CredentialsError
from spillover.kube.lease import read_lease
from spillover.kube.listing import list_all
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

Object = dict[str, Any]

_NAMESPACE = "spillover-system"
_LEASE = "spillover-scheduler"
_BOOT_SECONDS = 120.0
_SILENT_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 5.0
_LONGEST_BOOT = 1800.0
_TRIES, _CONFLICT = 5, 409
_SCHEDULER_ERROR = "SchedulerError"
_ERRORS = (
    ApiError,
    NoAnswerError,
    CredentialsError,
    ValueError,
    msgspec.MsgspecError,
    yaml.YAMLError,
    OSError,
)


def main(words: Sequence[str]) -> int:
    """Runs one command. Returns the exit status. The agent reads its own command line."""
    if words[:1] == ["agent"]:
        from spillover.federation.agent.service import main as agent  # noqa: PLC0415 - a service

        return agent(words[1:])
    options = _parser().parse_args(words)
    command = {"check": _check, "status": _status, "gc": _gc}[options.command]
    try:
        text, status = asyncio.run(command(options))
    except _ERRORS as error:
        print(harmless(f"error: {error}"), file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    print(harmless(text), flush=True)  # noqa: T201 - a command's output
    return status


def _parser() -> argparse.ArgumentParser:
    federation = argparse.ArgumentParser(
        prog="spillover federation", description="A fleet of clusters under KubeAdmiral."
    )
    commands = federation.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="finds the traps of a KubeAdmiral fleet, and says what to change",
        description="Exit status: 0 without a finding, 3 with findings, 1 after an error.",
    )
    _add_hub(check)
    check.add_argument(
        "--member",
        action="append",
        default=[],
        metavar="NAME=KUBECONFIG",
        help="also looks at this member; may be given several times",
    )
    check.add_argument(
        "-f", "--filename", action="append", type=Path, default=[],
        help="also checks manifests that are not applied yet",
    )  # fmt: skip
    check.add_argument(
        "--node-boot-seconds",
        type=float,
        default=_BOOT_SECONDS,
        help="how long a new node takes to be ready; default: %(default).0f, or what members show",
    )
    status = commands.add_parser("status", help="the fleet as one table, from the agents' reports")
    _add_hub(status)
    status.add_argument(
        "--agents-namespace", default="spillover-agents", help="default: %(default)s"
    )
    gc = commands.add_parser("gc", help="removes the limits of the members that you name")
    _add_hub(gc)
    gc.add_argument("--member", action="append", required=True, metavar="NAME")
    commands.add_parser("agent", help="runs the agent of one member; see its own --help")
    return federation


def _add_hub(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kubeconfig", type=Path, help="of the hub; default: $KUBECONFIG")
    command.add_argument("--context", help="a context of the kubeconfig")
    command.add_argument("-o", "--output", choices=["text", "json"], default="text")


# --- status ---------------------------------------------------------------------------------------


async def _status(options: argparse.Namespace) -> tuple[str, int]:
    async with ApiSession(Credentials(options.kubeconfig, options.context)) as hub:
        reports = await list_all(hub, PATH, from_wire)
        sources = await _objects(hub, "/apis/apps/v1/deployments", {"labelSelector": POLICY_LABEL})
        policies = await list_all(hub, f"/apis/{GROUP}/v1alpha1/propagationpolicies", propagation)
        leases = await _objects(
            hub, f"/apis/coordination.k8s.io/v1/namespaces/{options.agents_namespace}/leases", {}
        )
    rows = fleet_rows(
        {_key(each): each["spec"].get("replicas") or 0 for each in sources},
        {
            _key(each): limits_of((each["metadata"].get("annotations") or {}).get(MIGRATION))
            for each in sources
        },
        {
            _key(each): policy.order
            for each in sources
            for policy in policies
            if (policy.namespace, policy.name)
            == (each["metadata"]["namespace"], each["metadata"]["labels"].get(POLICY_LABEL))
        },
        reports,
        _silent(leases, time.time()),
    )
    if options.output == "json":
        return _json(rows), 0
    return "\n".join(table([_HEADINGS, *map(_cells, rows)])), 0


_HEADINGS = ("WORKLOAD", "MEMBER", "REPLICAS", "UNITS", "UNSCHEDULABLE", "ROOM", "LIMIT", "NEXT")


def _silent(leases: Sequence[Object], now: float) -> dict[str, str]:
    """Members whose agent has not renewed its Lease for long, by the clock of this machine."""
    found = {}
    for lease in leases:
        name, spec = lease["metadata"]["name"], lease.get("spec", {})
        renewed = seconds_of(spec.get("renewTime") or "")
        if not name.startswith(PREFIX) or renewed is None:
            continue
        if now - renewed > _SILENT_SECONDS or not spec.get("holderIdentity"):
            found[name.removeprefix(PREFIX)] = f"no agent since {instant_of(renewed)}"
    return found


def _cells(row: FleetRow) -> tuple[str, ...]:
    return (
        row.workload,
        row.member,
        str(row.replicas),
        ", ".join(f"{unit} {pods}" for unit, pods in row.units) or "-",
        f"{row.unschedulable} since {row.since}" if row.unschedulable else "0",
        str(row.room) if row.room is not None else "unlimited",
        str(row.limit) if row.limit is not None else "-",
        row.next,
    )


# --- gc -------------------------------------------------------------------------------------------


async def _gc(options: argparse.Namespace) -> tuple[str, int]:
    done, failed = [], []
    async with ApiSession(Credentials(options.kubeconfig, options.context)) as hub:
        sources = await _objects(hub, "/apis/apps/v1/deployments", {"labelSelector": POLICY_LABEL})
        for each in sources:
            try:
                if gone := await _without_limits(hub, each, options.member):
                    done.append(f"Deployment {_key(each)}: {', '.join(gone)}")
            except (ApiError, NoAnswerError) as error:
                failed.append(f"Deployment {_key(each)}: not changed: {error}")
    status = 1 if failed else 0
    if options.output == "json":
        return _json(done + failed), status
    return "\n".join(done + failed) or "no limit of these members was found", status


async def _without_limits(hub: ApiSession, source: Object, members: Sequence[str]) -> list[str]:
    """Removes the members' limits. Returns the members that had one."""
    path = (
        f"/apis/apps/v1/namespaces/{source['metadata']['namespace']}"
        f"/deployments/{source['metadata']['name']}"
    )
    for _ in range(_TRIES):
        metadata = source["metadata"]
        text = (metadata.get("annotations") or {}).get(MIGRATION)
        before = limits_of(text)
        after = {name: most for name, most in before.items() if name not in members}
        if after == before:
            return []
        notes = {MIGRATION: with_limits(after, text)}
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "annotations": notes}}
        try:
            await hub.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            source = msgspec.json.decode(await hub.request("GET", path))
        else:
            return sorted(before.keys() - after)
    raise NoAnswerError("somebody else changes it all the time")


# --- check ----------------------------------------------------------------------------------------


async def _check(options: argparse.Namespace) -> tuple[str, int]:
    written = [
        document
        for file in options.filename
        for document in yaml.safe_load_all(file.read_text())
        if isinstance(document, dict) and isinstance(document.get("metadata"), dict)
    ]
    async with ApiSession(Credentials(options.kubeconfig, options.context)) as session:
        hub = await _hub(session, written)
    members = [await _member(*_named(each), hub) for each in options.member]
    found = findings(hub, members, options.node_boot_seconds)
    if options.output == "json":
        return _json(found), 3 if found else 0
    return "\n\n".join(map(_told, found)) or "no trap was found", 3 if found else 0


def _told(finding: Finding) -> str:
    change = finding.change.rstrip().replace("\n", "\n    ")
    return f"{finding.trap}: {finding.where}\n  {finding.happens}\n  Change:\n    {change}"


async def _hub(session: ApiSession, written: Sequence[Object]) -> Hub:
    """Objects from files come in place of stored ones with the same name."""

    async def both(kind: str, path: str, select: dict[str, str] | None = None) -> list[Object]:
        stored = {_key(each): each for each in await _objects(session, path, select or {})}
        mine = {_key(each): each for each in written if each.get("kind") == kind}
        return list({**stored, **mine}.values())

    api = f"/apis/{GROUP}/v1alpha1"
    return Hub(
        workloads=await both(
            "Deployment", "/apis/apps/v1/deployments", {"labelSelector": POLICY_LABEL}
        ),
        policies=[
            propagation(msgspec.json.encode(each))
            for each in await both("PropagationPolicy", f"{api}/propagationpolicies")
        ],
        overrides=await both("OverridePolicy", f"{api}/overridepolicies"),
        autoscalers=[each for each in written if each.get("kind") == "HorizontalPodAutoscaler"],
    )


def _named(option: str) -> tuple[str, Path]:
    name, _, file = option.partition("=")
    if not name or not file:
        raise ValueError(f"--member: {option!r} is not NAME=KUBECONFIG")
    return name, Path(file)


async def _member(name: str, kubeconfig: Path, hub: Hub) -> Member:
    async with ApiSession(Credentials(kubeconfig)) as session:
        installed = [
            dialect
            for dialect in (ack, vke)
            if await _exists(session, f"/apis/{dialect.GROUP}/{dialect.VERSION}/resourcepolicies")
        ]
        if not installed:
            return Member(name, installed=False)
        growth, unread = await _growth(session)
        return Member(
            name,
            installed=True,
            trouble=await _trouble(session),
            capacities=await _capacities(session, hub, growth),
            unread=unread,
            boot_seconds=await _boot_seconds(session),
        )


async def _trouble(session: ApiSession) -> str:
    lease = await read_lease(session, _NAMESPACE, _LEASE)
    if lease is None or not lease.holder:
        return "No scheduler of Spillover holds its Lease"
    if time.time() - lease.renewed > 2 * lease.seconds:
        # Or the clock of this machine is wrong: is the Lease renewed?
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        if await read_lease(session, _NAMESPACE, _LEASE) == lease:
            return "The scheduler's Lease is not renewed"
    pods = await _objects(session, "/api/v1/pods", {"fieldSelector": "spec.nodeName="})
    failing = [_key(pod) for pod in pods if _is_failing(pod)]
    if failing:
        return f"{len(failing)} pods have the reason {_SCHEDULER_ERROR}, such as {min(failing)}"
    return ""


def _is_failing(pod: Object) -> bool:
    return pod["spec"].get("schedulerName") in DEFAULT_SCHEDULERS and any(
        each["type"] == "PodScheduled" and each.get("reason") == _SCHEDULER_ERROR
        for each in pod.get("status", {}).get("conditions") or ()
    )


async def _boot_seconds(session: ApiSession) -> float | None:
    """The longest time from a node's creation until it was last not ready. Nodes that were not
    ready later on are left out."""
    found = []
    for node in await _objects(session, "/api/v1/nodes", {}):
        created = seconds_of(node["metadata"]["creationTimestamp"])
        for each in node.get("status", {}).get("conditions") or ():
            if (each["type"], each["status"]) == ("Ready", "True") and created is not None:
                ready = seconds_of(each.get("lastTransitionTime") or "") or created
                found.append(ready - created)
    return max((each for each in found if each <= _LONGEST_BOOT), default=None)


async def _capacities(
    session: ApiSession, hub: Hub, growth: Mapping[tuple[str, str, str], Mapping[str, float]]
) -> dict[str, int]:
    """The replicas of each workload that the member can hold, where that number is fixed."""
    found: dict[str, int] = {}
    conventions = NodeConventions()
    snapshots: dict[str, Snapshot] = {}
    managed = {"labelSelector": f"{MANAGED_LABEL}=true"}
    mine = await list_all(session, "/apis/apps/v1/deployments", deployed, managed)
    wanted = {_key(each) for each in hub.workloads}
    for each in (one for one in mine if one.key in wanted):
        if each.namespace not in snapshots:
            snapshots[each.namespace] = await take(
                session, each.namespace, conventions, time.time()
            )
        snapshot = snapshots[each.namespace]
        policy = snapshot.cache.policy_of(each.shape.pod)
        if not isinstance(policy, Policy):
            continue
        grows = growth.get((policy.key.group, each.namespace, policy.key.name), {})
        if is_bounded(policy, grows):
            used = snapshot.used or {}
            nodes = NodeStates(
                {
                    node.name: NodeState(node, used.get(node.name, NOT_USED))
                    for node in snapshot.nodes
                }
            )
            room = total(rooms(each.shape, policy, grows, snapshot.cache, nodes))
            found[each.key] = _bound(snapshot, each.uid) + room
    return found


def _bound(snapshot: Snapshot, deployment: str) -> int:
    workloads = snapshot.cache.workloads
    return sum(
        bool(pod.node and not pod.terminating and not pod.finished)
        for pod in snapshot.pods
        if (owner := workloads.get(pod.owner)) is not None and owner.owner == deployment
    )


async def _growth(
    session: ApiSession,
) -> tuple[dict[tuple[str, str, str], dict[str, float]], tuple[str, ...]]:
    """The declared sizes of units, by group, namespace and name of the policy; and what cannot be
    read."""
    found, unread = {}, []
    for dialect in (ack, vke):
        path = f"/apis/{dialect.GROUP}/{dialect.VERSION}/resourcepolicies"
        for each in await _objects(session, path, {}):
            note = (each["metadata"].get("annotations") or {}).get(GROWS_TO_ANNOTATION, "")
            key = (dialect.GROUP, each["metadata"]["namespace"], each["metadata"]["name"])
            try:
                found[key] = grows_to(note)
            except ValueError as error:
                unread.append(f"ResourcePolicy {key[1]}/{key[2]}: {error}")
    return found, tuple(unread)


# --- reading --------------------------------------------------------------------------------------


async def _objects(session: ApiSession, path: str, select: dict[str, str]) -> list[Object]:
    """Every object of a collection. Empty if the collection does not exist."""
    try:
        return await list_all(
            session, path, lambda raw: msgspec.json.decode(raw, type=dict[str, Any]), select
        )
    except ApiError as error:
        if error.status == 404:
            return []
        raise


async def _exists(session: ApiSession, path: str) -> bool:
    try:
        await session.request("GET", path, params={"limit": "1"})
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def _key(found: Mapping[str, Any]) -> str:
    metadata = found["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"


def _json(found: object) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
