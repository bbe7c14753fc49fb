"""All that the cluster without containers changes of what manifests/ give to a component.

Every other byte that a component reads is the manifests'. A test fails when anything else differs:
tests/cluster/test_shipped_configuration.py. What a test asks for (`Options`) comes on top.

    in a cluster                                  here
    ───────────────────────────────────────────   ─────────────────────────────────────────────────
    a Pod has an address of its own, and its      every Pod gets an address in 127.0.0.0/8, which
    containers share 127.0.0.1                    stands for 127.0.0.1 in arguments and files
    a ConfigMap or a Secret is mounted as files   the files are in a folder of the Pod's; a path
                                                  below the mount path leads there
    a Service has a name                          the relay's address, see harness/services.py; in
                                                  arguments, and in webhooks' clientConfig
    a Deployment makes Pods                       it is checked by the API server and not created
    a ServiceAccount's token and CA are mounted   a kubeconfig with a token of that ServiceAccount:
                                                  in $KUBECONFIG; kube-scheduler reads no such
                                                  variable and gets it by its configuration file and
                                                  two flags
    a program is found in the image               the one that ./dev build made; `python` is the
                                                  environment in which the wheel is installed
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LOOPBACK = "127.0.0.1"
KUBE_SCHEDULER = "kube-scheduler"


@dataclass(frozen=True)
class Site:
    """What a Pod needs to know of the place where it runs. `kubeconfig` is by container, `hosts`
    are the addresses of Services by name, `executable` is by the command's name."""

    name: str
    address: str
    folder: Path
    kubeconfig: Callable[[str], Path]
    executable: Callable[[str], str]
    hosts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A text that is replaced, and by what. `what` is for people."""

    what: str
    found: re.Pattern[str]
    becomes: str


def webhook_client(asked: Mapping[str, str], address: str, port: int) -> dict[str, str]:
    """A webhook's clientConfig that calls the relay in place of the Service."""
    return {"url": f"https://{address}:{port}{asked['path']}"}


def of_files(site: Site) -> tuple[Change, ...]:
    """In mounted files."""
    return (
        Change("the Pod's own address", re.compile(re.escape(_LOOPBACK)), site.address),
        Change(
            "kube-scheduler's credentials",
            re.compile(r"^clientConnection:\n", re.MULTILINE),
            f"clientConnection:\n  kubeconfig: {site.kubeconfig(KUBE_SCHEDULER)}\n",
        ),
    )


def of_words(site: Site, mounts: Mapping[str, str]) -> tuple[Change, ...]:
    """In command and arguments. `mounts` are folders by mount path."""
    return (
        *(
            Change("a mounted file", re.compile(rf"(?<![^=]){re.escape(mount)}(?=/|$)"), folder)
            for mount, folder in mounts.items()
        ),
        *(
            Change("a Service", re.compile(re.escape(host)), address)
            for host, address in site.hosts.items()
        ),
        Change("the Pod's own address", re.compile(re.escape(_LOOPBACK)), site.address),
    )


def applied(changes: Sequence[Change], text: str) -> str:
    for change in changes:
        text = change.found.sub(change.becomes.replace("\\", "\\\\"), text)
    return text


def with_lease(text: str, seconds: tuple[float, float, float]) -> str:
    """kube-scheduler's configuration with other durations of its Lease, for a test that asks for
    them: duration, renew deadline and retry period."""
    keys = ("leaseDuration", "renewDeadline", "retryPeriod")
    for key, each in zip(keys, seconds, strict=True):
        text = re.sub(rf"\b{key}: \S+", f"{key}: {int(each * 1000)}ms", text)
    return text


def added_words(program: str, kubeconfig: Path) -> list[str]:
    """Behind the arguments of a program."""
    if program != KUBE_SCHEDULER:
        return []
    return [
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
    ]


def added_environment(kubeconfig: Path) -> dict[str, str]:
    return {"KUBECONFIG": str(kubeconfig)}
