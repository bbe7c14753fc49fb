"""From a Deployment's Pod template to processes: the one place where manifests are changed.

    in a cluster                                  here
    ───────────────────────────────────────────   ─────────────────────────────────────────────────
    a Pod has an address of its own, and its      every Pod gets an address in 127.0.0.0/8; where
    containers share 127.0.0.1                    an argument or a mounted file says 127.0.0.1, it
                                                  gets that address
    $(NAME) in command and args, env with         the same; metadata.name, metadata.namespace and
    value or fieldRef                             status.podIP are known
    a ConfigMap is mounted as files               the files are written to a folder; an argument
                                                  that begins with the mount path (or `--flag=` and
                                                  the mount path) is led there
    a ServiceAccount's token and CA are mounted   a kubeconfig with a token of that ServiceAccount:
                                                  $KUBECONFIG, and for kube-scheduler in its
                                                  configuration file and two flags. Each
                                                  container has a file of its own, so that one alone
                                                  can be led through a proxy
    an image                                      the binary of the command's name that ./dev
                                                  build made; `python` is the environment in which
                                                  the wheel is installed
    the kubelet restarts a container that ends,   harness/kubelet.py does, with the same growing
    and probes it                                 pauses; the readiness probes decide when ./dev up
                                                  is done

Nothing else is changed: arguments, configuration, RBAC and ServiceAccounts are those of manifests/.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

_LOOPBACK = "127.0.0.1"
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_PORT_SCHEMES = {"HTTP": "http", "HTTPS": "https"}


@dataclass(frozen=True)
class Container:
    """A process. `probe` is the URL that answers 200 when it is ready."""

    name: str
    command: list[str]
    env: dict[str, str]
    probe: str | None


@dataclass(frozen=True)
class Pod:
    """The processes of one replica. `files` are the mounted files, by path in the Pod's folder."""

    name: str
    address: str
    containers: list[Container]
    grace_seconds: int
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """What a Pod needs to know of the place where it runs. `kubeconfig` is by container, `hosts`
    are the addresses of Services by name."""

    name: str
    address: str
    folder: Path
    kubeconfig: Callable[[str], Path]
    executable: Callable[[str], str]
    hosts: Mapping[str, str] = field(default_factory=dict)


def pod(deployment: Object, config_maps: Mapping[str, Object], site: Site) -> Pod:
    """One replica of a Deployment as processes."""
    namespace = deployment["metadata"]["namespace"]
    spec = deployment["spec"]["template"]["spec"]
    mounts = {
        volume["name"]: config_maps[volume["configMap"]["name"]]["data"]
        for volume in spec.get("volumes", ())
        if "configMap" in volume  # an emptyDir is the machine's own /tmp
    }
    files = {
        f"{volume}/{name}": _configuration(text, site)
        for volume, data in mounts.items()
        for name, text in data.items()
    }
    return Pod(
        name=site.name,
        address=site.address,
        containers=[
            _container(container, namespace, site, set(mounts)) for container in spec["containers"]
        ],
        grace_seconds=spec.get("terminationGracePeriodSeconds", 30),
        files=files,
    )


def _container(container: Object, namespace: str, site: Site, volumes: set[str]) -> Container:
    fields = {
        "metadata.name": site.name,
        "metadata.namespace": namespace,
        "status.podIP": site.address,
    }
    env = {
        entry["name"]: entry["value"]
        if "value" in entry
        else fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in container.get("env", ())
    }
    mounts = {
        mount["mountPath"]: str(site.folder / mount["name"])
        for mount in container.get("volumeMounts", ())
        if mount["name"] in volumes
    }
    kubeconfig = site.kubeconfig(container["name"])
    words = [*container.get("command", ()), *container.get("args", ())]
    words = [_argument(word, env, mounts, site.address) for word in words]
    for host, address in site.hosts.items():
        words = [word.replace(host, address) for word in words]
    if words[0] == "kube-scheduler":
        words += [
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
        ]
    return Container(
        name=container["name"],
        command=[site.executable(words[0]), *words[1:]],
        env={**env, "KUBECONFIG": str(kubeconfig)},
        probe=_probe(container, site.address),
    )


def _argument(word: str, env: Mapping[str, str], mounts: Mapping[str, str], address: str) -> str:
    word = _REFERENCE.sub(lambda match: env.get(match[1], match[0]), word)
    flag, equals, value = word.partition("=")
    path = value if equals else word
    for mount, folder in mounts.items():
        if path == mount or path.startswith(f"{mount}/"):
            path = folder + path.removeprefix(mount)
    return (f"{flag}={path}" if equals else path).replace(_LOOPBACK, address)


def _configuration(text: str, site: Site) -> str:
    text = text.replace(_LOOPBACK, site.address)
    parsed = yaml.safe_load(text)
    if isinstance(parsed, dict) and parsed.get("kind") == "KubeSchedulerConfiguration":
        kubeconfig = site.kubeconfig("kube-scheduler")
        parsed.setdefault("clientConnection", {})["kubeconfig"] = str(kubeconfig)
        return yaml.safe_dump(parsed, sort_keys=False)
    return text


def _probe(container: Object, address: str) -> str | None:
    request = container.get("readinessProbe", {}).get("httpGet")
    if request is None:
        return None
    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
    port = ports.get(request["port"], request["port"])
    scheme = _PORT_SCHEMES[request.get("scheme", "HTTP")]
    return f"{scheme}://{address}:{port}{request['path']}"
