"""The command `spillover`, also `kubectl spillover`: explains why pods are on their nodes."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from spillover.api.errors import harmless
from spillover.cli.render import render_pod, render_policy
from spillover.cli.snapshot import Snapshot, take
from spillover.core.model.conventions import DEFAULT_PROVIDER_TAINTS, NodeConventions, label_pair
from spillover.core.reporting.explain import (
    PodExplanation,
    PolicyExplanation,
    explain_pod,
    explain_policy,
)
from spillover.kube.credentials import Credentials, CredentialsError
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

SCHEDULERS = ("spillover-scheduler", "ack-co-scheduler")


class NotFoundError(Exception):
    """The pod or policy of the command line does not exist."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0, 1 for a failure, 2 for a wrong command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["federation"]:
        from spillover.cli import federation  # noqa: PLC0415 - explain needs none of it

        return federation.main(words[1:])
    options = _parser().parse_args(words)
    try:
        # Tenants write names and messages: a terminal must not execute control characters in them.
        text = harmless(asyncio.run(_explain(options)))
        print(text, flush=True)  # noqa: T201 - a command's output
    except BrokenPipeError:  # the reader has closed the pipe, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ApiError, NoAnswerError, CredentialsError, NotFoundError) as error:
        print(harmless(f"error: {error}"), file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spillover", description="Explains where Spillover places pods, and why."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explain = commands.add_parser(
        "explain",
        help="why a pod is where it is or waits; how full a policy's units are",
        description="Reads with your own credentials, and shows only what they may see.",
    )
    commands.add_parser(
        "federation", help="a fleet of clusters under KubeAdmiral: check, status, agent, gc"
    )
    explain.add_argument("kind", choices=["pod", "policy"])
    explain.add_argument("name", metavar="NAME")
    explain.add_argument(
        "-n", "--namespace", help="default: that of the kubeconfig's context, or of the Pod"
    )
    explain.add_argument("-o", "--output", choices=["text", "json"], default="text")
    explain.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, ~/.kube/config")
    explain.add_argument("--context", help="a context of the kubeconfig")
    explain.add_argument(
        "--scheduler-name",
        action="append",
        metavar="NAME",
        help=f"of the schedulers that ask Spillover; default: {', '.join(SCHEDULERS)}",
    )
    nodes = explain.add_argument_group("how nodes are marked, where the extender's settings differ")
    nodes.add_argument(
        "--virtual-node-label", type=label_pair, default=label_pair("type=virtual-kubelet")
    )
    nodes.add_argument(
        "--elastic-node-label", type=label_pair, default=label_pair("goatscaler.io/managed=true")
    )
    nodes.add_argument(
        "--provider-taint", action="append", metavar="KEY", help="may be given several times"
    )
    nodes.add_argument(
        "--serverless-namespace-label",
        type=label_pair,
        metavar="KEY=VALUE",
        help="of namespaces whose pods may ask for virtual nodes by their own labels; default: all",
    )
    return parser


async def _explain(options: argparse.Namespace) -> str:
    conventions = NodeConventions(
        options.virtual_node_label,
        options.elastic_node_label,
        frozenset(options.provider_taint or DEFAULT_PROVIDER_TAINTS),
        serverless_namespaces=options.serverless_namespace_label,
        schedulers=frozenset(options.scheduler_name or SCHEDULERS),
    )
    credentials = Credentials(options.kubeconfig, options.context)
    async with ApiSession(credentials) as session:
        namespace = options.namespace or credentials.namespace
        snapshot = await take(session, namespace, conventions, time.time())
    if options.kind == "pod":
        report = _pod_report(
            snapshot, namespace, options.name, options.scheduler_name or SCHEDULERS
        )
        text = render_pod(report)
    else:
        reports = _policy_reports(snapshot, namespace, options.name)
        text = "\n\n".join(map(render_policy, reports))
    if options.output == "json":
        found = report if options.kind == "pod" else reports
        answer = {options.kind: found, "unseen": snapshot.unseen}
        return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()
    return "\n".join([text, *(f"note: {remark}" for remark in snapshot.unseen)])


def _pod_report(
    snapshot: Snapshot, namespace: str, name: str, schedulers: Sequence[str]
) -> PodExplanation:
    pod = snapshot.pod(name)
    if pod is None:
        raise NotFoundError(f"no pod {name} in namespace {namespace}")
    return explain_pod(
        snapshot.cache, pod, snapshot.misfits(pod), snapshot.hindrances(pod, schedulers)
    )


def _policy_reports(snapshot: Snapshot, namespace: str, name: str) -> list[PolicyExplanation]:
    """The reports of the policies with this name, one per dialect. Raises NotFoundError."""
    found = [
        explain_policy(snapshot.cache, policy)
        for policy in snapshot.cache.policies.of_namespace(namespace)
        if name in (policy.key.name, str(policy.key))
    ]
    if not found:
        raise NotFoundError(f"no ResourcePolicy {name} in namespace {namespace}")
    return found
