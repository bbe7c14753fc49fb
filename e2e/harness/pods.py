"""From a Deployment's Pod template to processes, as a kubelet would start them.

    in a cluster                                  here
    ───────────────────────────────────────────   ─────────────────────────────────────────────────
    $(NAME) in command and args, env with         the same; metadata.name, metadata.namespace and
    value or fieldRef                             status.podIP are known
    a ConfigMap is mounted as files               the files are written to a folder
    a Secret's keys are mounted as files          harness/mounted.py keeps them as the Secret has
                                                  them; the containers start when all are there
    an image                                      the program of the command's name
    the kubelet restarts a container that ends,   harness/kubelet.py does, with the same growing
    and probes it                                 pauses; the readiness probes decide when ./dev up
                                                  is done

What differs from the manifests stands in harness/changes.py, and nowhere else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import changes
from harness.changes import Site

Object = dict[str, Any]

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
class SecretFiles:
    """Keys of a Secret that are mounted as files: `items` are file names by key, in `folder` of
    the Pod's folder. `path` is the Secret's at the API server."""

    folder: str
    path: str
    items: dict[str, str]


@dataclass(frozen=True)
class Pod:
    """The processes of one replica. `files` are the mounted files, by path in the Pod's folder."""

    name: str
    address: str
    containers: list[Container]
    grace_seconds: int
    files: dict[str, str] = field(default_factory=dict)
    secrets: list[SecretFiles] = field(default_factory=list)


def pod(deployment: Object, config_maps: Mapping[str, Object], site: Site) -> Pod:
    """One replica of a Deployment as processes."""
    namespace = deployment["metadata"]["namespace"]
    spec = deployment["spec"]["template"]["spec"]
    mounts = {
        volume["name"]: config_maps[volume["configMap"]["name"]]["data"]
        for volume in spec.get("volumes", ())
        if "configMap" in volume  # an emptyDir is the machine's own /tmp
    }
    secrets = [
        _secret_files(volume, namespace) for volume in spec.get("volumes", ()) if "secret" in volume
    ]
    volumes = {*mounts, *(each.folder for each in secrets)}
    files = {
        f"{volume}/{name}": changes.applied(changes.of_files(site), text)
        for volume, data in mounts.items()
        for name, text in data.items()
    }
    return Pod(
        name=site.name,
        address=site.address,
        containers=[
            _container(container, namespace, site, volumes) for container in spec["containers"]
        ],
        grace_seconds=spec.get("terminationGracePeriodSeconds", 30),
        files=files,
        secrets=secrets,
    )


def _secret_files(volume: Object, namespace: str) -> SecretFiles:
    source = volume["secret"]
    return SecretFiles(
        folder=volume["name"],
        path=f"/api/v1/namespaces/{namespace}/secrets/{source['secretName']}",
        items={item["key"]: item["path"] for item in source["items"]},
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
    words = [
        changes.applied(changes.of_words(site, mounts), _expanded(word, env))
        for word in (*container.get("command", ()), *container.get("args", ()))
    ]
    words += changes.added_words(words[0], kubeconfig)
    return Container(
        name=container["name"],
        command=[site.executable(words[0]), *words[1:]],
        env={**env, **changes.added_environment(kubeconfig)},
        probe=_probe(container, site.address),
    )


def _expanded(word: str, env: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: env.get(match[1], match[0]), word)


def _probe(container: Object, address: str) -> str | None:
    request = container.get("readinessProbe", {}).get("httpGet")
    if request is None:
        return None
    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
    port = ports.get(request["port"], request["port"])
    scheme = _PORT_SCHEMES[request.get("scheme", "HTTP")]
    return f"{scheme}://{address}:{port}{request['path']}"
