"""A real cluster without containers: etcd, API server, controller manager, scheduler and kwok from
kwokctl, and beside them the components of Spillover as manifests/ declares them."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import yaml

from harness import pods, processes
from harness.build import Programs, control_plane
from harness.changes import Site, with_lease
from harness.client import ClusterError, Object
from harness.local import LocalCluster, address
from harness.locks import exclusive
from harness.places import MANIFESTS, ROOT, machine_lock
from harness.services import component_of, redirected, relay_config, services

NAMESPACE = "spillover-system"
AGENTS = "spillover-agents"
"""The namespace of the federation agents' accounts, on a hub."""
_FIRST_RELAY, _MOST_RELAYS = 200, 9
_KWOK_CONFIG = {
    "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
    "kind": "KwokctlConfiguration",
    "options": {"bindAddress": "127.0.0.1"},
}
_ARGUMENTS = {
    # Only nodes that say so are kwok's: others stay as they are, for instance not ready.
    "kwok-controller": {
        "manage-all-nodes": "false",
        "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
    },
    # A component that loses its Lease exits, and nothing here starts it again.
    "kube-controller-manager": {"leader-elect": "false"},
    "kube-scheduler": {"leader-elect": "false"},
}
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Request",
            "verbs": ["patch"],
            "resources": [{"group": "", "resources": ["pods"]}],
        },
        {
            "level": "Metadata",
            "verbs": ["create", "update", "patch"],
            "resources": [{"group": "", "resources": ["pods/binding", "pods/status"]}],
        },
        {
            "level": "Metadata",
            "verbs": ["patch"],
            "resources": [
                {"group": group, "resources": ["resourcepolicies/status"]}
                for group in ("scheduling.alibabacloud.com", "scheduling.vke.volcengine.com")
            ],
        },
        {"level": "None"},
    ],
}


_RIGHTS_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "userGroups": [
                f"system:serviceaccounts:{namespace}" for namespace in (NAMESPACE, AGENTS)
            ],
        },
        {"level": "None"},
    ],
}


@dataclass(frozen=True)
class Options:
    """What a cluster is made with. `components`: with those of Spillover; `audit`: the API server
    writes down who patched which pod, see `Cluster.audited`; `rights`: every request of Spillover's
    accounts, see `Cluster.requests`. `controllers` are those that the controller manager runs; all
    if empty. `lease` is duration, renew deadline and retry period of the scheduler's Lease in
    seconds, in place of those in manifests/."""

    scheduler_replicas: int = 1
    webhook_replicas: int = 1
    webhook_arguments: tuple[str, ...] = ()
    extender_arguments: tuple[str, ...] = ()
    components: bool = True
    feature_gates: str = ""
    api_server_arguments: tuple[str, ...] = ()
    audit: bool = False
    rights: bool = False
    controllers: tuple[str, ...] = ()
    lease: tuple[float, float, float] | None = None


def _add_arguments(deployment: Object, options: Options) -> None:
    more = {"webhook": options.webhook_arguments, "extender": options.extender_arguments}
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        if container["name"] in more:
            container["args"] += more[container["name"]]


def _patches(options: Options) -> list[Object]:
    """Arguments of the control plane's components, for kwokctl. Its own --extra-args loses some
    where one component has several."""
    arguments = {
        **_ARGUMENTS,
        "kube-apiserver": dict(each.split("=", 1) for each in options.api_server_arguments),
    }
    if options.controllers:
        own = {"controllers": ",".join(options.controllers)}
        arguments["kube-controller-manager"] = {**_ARGUMENTS["kube-controller-manager"], **own}
    return [
        {"name": name, "extraArgs": [{"key": key, "value": value} for key, value in own.items()]}
        for name, own in arguments.items()
        if own
    ]


class Cluster(LocalCluster):
    """One without containers."""

    # --- life ----------------------------------------------------------------------------------

    def up(self, options: Options, say: Callable[[str], None] = lambda _: None) -> None:
        """Starts it. When this returns, pods can be scheduled. What is half up after an error is
        taken down again."""
        tools = control_plane()
        index = self.claim_index()
        try:
            say("starting the control plane")
            self._start_control_plane(tools, options)
            if options.components:
                self._start_components(tools, index, options, say)
            self.wait("the default ServiceAccount", self._has_default_account)
        except BaseException:
            self.keep_logs()
            self.down()
            raise

    def _start_control_plane(self, tools: Programs, options: Options) -> None:
        config = self.folder / "kwokctl.yaml"
        config.write_text(yaml.safe_dump({**_KWOK_CONFIG, "componentsPatches": _patches(options)}))
        command = [tools.binary("kwokctl"), "create", "cluster", "--name", "it", "--wait", "60s"]
        command += ["--config", str(config), "--runtime", "binary"]
        command += ["--kubeconfig", str(self.kubeconfig)]
        command += ["--etcd-binary", tools.binary("etcd")]
        command += ["--kwok-controller-binary", tools.binary("kwok")]
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            command += [f"--{name}-binary", tools.binary(name)]
        if options.feature_gates:
            command += ["--kube-feature-gates", options.feature_gates]
        if options.audit or options.rights:
            policy = self.folder / "audit-policy.yaml"
            policy.write_text(yaml.safe_dump(_RIGHTS_POLICY if options.rights else _AUDIT_POLICY))
            command += ["--kube-audit-policy", str(policy)]
        environment = {
            **processes.marked(self.folder),
            "KWOK_WORKDIR": str(self.folder / "kwok"),
            # kwokctl calls kubectl for itself.
            "PATH": f"{tools.folder}:/usr/bin:/bin",
        }
        # kwokctl looks for free ports: one at a time.
        with exclusive(machine_lock("ports")), (self.folder / "kwokctl.log").open("w") as log:
            ended = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=120,
                check=False,
            )
        if ended.returncode:
            raise ClusterError((self.folder / "kwokctl.log").read_text())

    def _start_components(
        self, tools: Programs, index: int, options: Options, say: Callable[[str], None]
    ) -> None:
        say("applying manifests/")
        objects = list(yaml.safe_load_all(self.kubectl("kustomize", str(MANIFESTS))))
        relays = [address(index, _FIRST_RELAY + number) for number in range(_MOST_RELAYS)]
        found = services(objects, relays)
        self._apply_manifests(redirected(objects, found))
        config_maps = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ConfigMap"}
        if options.lease is not None:
            for config_map in config_maps.values():
                for name, text in config_map["data"].items():
                    config_map["data"][name] = with_lease(text, options.lease)
        replicas = {
            "certificates": 1,
            "scheduler": options.scheduler_replicas,
            "webhook": options.webhook_replicas,
        }
        started: dict[str, list[pods.Pod]] = {}
        for deployment in (o for o in objects if o["kind"] == "Deployment"):
            component = component_of(deployment)
            account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
            _add_arguments(deployment, options)
            for replica in range(replicas[component]):
                name = f"{deployment['metadata']['name']}-{replica}"
                folder = self.folder / "pods" / name
                folder.mkdir(parents=True)
                site = Site(
                    name=name,
                    address=address(index, sum(map(len, started.values()))),
                    folder=folder,
                    kubeconfig=partial(self._account_kubeconfig, account, folder),
                    executable=lambda word: _executable(word, tools),
                    hosts={each.host: each.address for each in found},
                )
                pod = self._start_pod(pods.pod(deployment, config_maps, site), folder)
                started.setdefault(component, []).append(pod)
        for service in found:
            folder = self.folder / "services" / service.name
            folder.mkdir(parents=True)
            (folder / "relay.json").write_text(relay_config(service, started[service.component]))
            self._start_helper("harness.relay", folder, folder / "relay.log")
        say("waiting for the components to be ready")
        for pod in (pod for replicas_of in started.values() for pod in replicas_of):
            for container in pod.containers:
                self.wait(f"{pod.name}/{container.name}", partial(answers, container.probe))
        self._check_hostnames(started["scheduler"])
        self.wait("a leader among the schedulers", self._has_leader)
        self.wait("admission of policies", self._admits_policies)

    def _apply_manifests(self, objects: Sequence[Object]) -> None:
        """Applies everything but the Deployments, which become processes: Pods would be placed on
        the cluster's nodes, which are not real. Those are checked by the API server only."""
        kinds = ("CustomResourceDefinition", "Namespace", "Deployment")
        by_kind = {kind: [o for o in objects if o["kind"] == kind] for kind in kinds}
        self.apply(*by_kind["CustomResourceDefinition"], *by_kind["Namespace"])
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        self.apply(*(o for o in objects if o["kind"] not in kinds))
        self.kubectl(
            "apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(by_kind["Deployment"])
        )

    def _account_kubeconfig(self, account: str, folder: Path, container: str) -> Path:
        """A container's kubeconfig with a token of the ServiceAccount, as its Pod would have."""
        file = folder / f"{container}.kubeconfig"
        if file.exists():
            return file
        token = self.kubectl("create", "token", account, "-n", NAMESPACE, "--duration=720h").strip()
        admin = yaml.safe_load(self.kubeconfig.read_text())
        server = admin["clusters"][0]["cluster"]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": server}],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": account}}],
            "current-context": "it",
        }
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return file

    def _start_pod(self, pod: pods.Pod, folder: Path) -> pods.Pod:
        for path, text in pod.files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
        (folder / "pod.json").write_text(json.dumps(asdict(pod), indent=2))
        self._start_helper("harness.kubelet", folder, folder / "kubelet.log", self.kubeconfig)
        return pod

    def start(
        self,
        deployment: Object,
        number: int,
        config_maps: Mapping[str, Object] = MappingProxyType({}),
        replica: int = 0,
    ) -> str:
        """Starts one Pod of a Deployment that is not in manifests/base, with the address of this
        number. `config_maps` are those that it mounts, by name. Returns its name when it is
        ready."""
        index = int((self.folder / "index").read_text())
        tools = control_plane()
        name = f"{deployment['metadata']['name']}-{replica}"
        folder = self.folder / "pods" / name
        folder.mkdir(parents=True)
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        site = Site(
            name=name,
            address=address(index, number),
            folder=folder,
            kubeconfig=partial(self._account_kubeconfig, account, folder),
            executable=lambda word: _executable(word, tools),
        )
        pod = self._start_pod(pods.pod(deployment, config_maps, site), folder)
        try:
            for container in pod.containers:
                self.wait(f"{name}/{container.name}", partial(answers, container.probe))
        except ClusterError as error:
            logs = "".join(file.read_text()[-2000:] for file in sorted(folder.glob("*.log")))
            self.stop(name)
            raise ClusterError(f"{error}\n{logs}") from error
        return name

    def relay(self, name: str, number: int, port: int, targets: Sequence[Object]) -> str:
        """Starts what stands for a Service, with the address of this number, which is returned.
        `targets` have address, port and probe."""
        index = int((self.folder / "index").read_text())
        folder = self.folder / "services" / name
        folder.mkdir(parents=True)
        own = address(index, number)
        config = {"address": own, "port": port, "targets": list(targets)}
        (folder / "relay.json").write_text(json.dumps(config))
        self._start_helper("harness.relay", folder, folder / "relay.log")
        return own

    def stop(self, pod: str) -> None:
        """Ends a Pod that `start` has started, and forgets it."""
        folder = self.pod_folder(pod)
        (helper,) = (
            process
            for process in processes.find(self.folder)
            if processes.command(process)[1:4] == ["-m", "harness.kubelet", str(folder)]
        )
        os.kill(helper, signal.SIGTERM)
        self.wait(f"the end of {pod}", partial(_is_ended, helper))
        for child in self.children:
            child.poll()
        shutil.rmtree(folder)

    def _start_helper(self, module: str, folder: Path, log_file: Path, *arguments: Path) -> None:
        """Starts what stands in for a part of Kubernetes. It lives on when we end; `down` finds it
        by its mark."""
        # Of our own environment only what a container has too: no credentials and no settings.
        environment = {
            name: value
            for name, value in processes.marked(self.folder).items()
            if name in ("PATH", "HOME", "LANG", processes.MARK)
        }
        with log_file.open("w") as log:
            helper = subprocess.Popen(
                [sys.executable, "-m", module, str(folder), *map(str, arguments)],
                env=environment,
                # Found by -m, and by no variable that containers would inherit.
                cwd=ROOT / "e2e",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.children.append(helper)

    def _check_hostnames(self, replicas: Sequence[pods.Pod]) -> None:
        """Replicas tell each other apart by their hostnames."""
        names = [(self.pod_folder(pod.name) / "hostname").read_text() for pod in replicas]
        if len(set(names)) < len(names):
            raise ClusterError(
                "several replicas of the scheduler need hostnames of their own, and this system"
                f" allows none (no UTS namespace): see {self.pod_folder(replicas[0].name)}"
            )

    def restart(self, component: str, between: Callable[[], None] = lambda: None) -> None:
        """Kills a part of the control plane, calls `between`, and starts it again as it was."""
        (old,) = self.processes_of(component)
        command = processes.command(old)
        os.kill(old, signal.SIGKILL)
        self.wait(f"the end of {component}", lambda: not processes.is_alive(old))
        for child in self.children:
            child.poll()  # no zombie stays of one that we have started ourselves
        between()
        (log,) = self.logs(component)
        with log.open("ab") as output:
            started = subprocess.Popen(
                command,
                env=processes.marked(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.children.append(started)

    def stop_components(self) -> None:
        """Ends the containers of Spillover for good. The control plane goes on."""
        for folder in sorted((self.folder / "pods").iterdir()):
            for file in sorted(folder.glob("*.pid")):
                file.with_suffix(".down").touch()
                os.kill(int(file.read_text()), signal.SIGTERM)
                self.wait(f"the end of {file.stem}", partial(_is_ended, int(file.read_text())))

    # --- audit ---------------------------------------------------------------------------------

    def audited(self) -> list[Object]:
        """Every patch of a pod (not of its status) so far, of a cluster made with `audit`."""
        return [entry for entry in self.pod_writes() if "subresource" not in entry["objectRef"]]

    def pod_writes(self) -> list[Object]:
        """Likewise, with patches of their status and with their bindings."""
        return [entry for entry in self._audit() if entry["objectRef"]["resource"] == "pods"]

    def status_writes(self) -> list[Object]:
        """Likewise, every patch of a policy's status."""
        return [entry for entry in self._audit() if entry["objectRef"]["resource"] != "pods"]

    def requests(self) -> list[Object]:
        """Every request of Spillover's accounts so far, of a cluster made with `rights`."""
        return self._audit()

    def _audit(self) -> list[Object]:
        (log,) = self.folder.glob("kwok/clusters/*/logs/audit.log")
        whole, _, _ = log.read_text().rpartition("\n")  # the last line may be half written
        return [json.loads(line) for line in whole.splitlines()]

    # --- look ----------------------------------------------------------------------------------

    def named_logs(self) -> Iterator[tuple[str, Path]]:
        for pattern in (
            "kwok/clusters/*/logs/*.log", "pods/*/*.log", "services/*/*.log", "prometheus/*.log"
        ):  # fmt: skip
            for file in sorted(self.folder.glob(pattern)):
                yield file.stem, file

    def pod_folder(self, name: str) -> Path:
        return self.folder / "pods" / name

    def _has_default_account(self) -> bool:
        return bool(self.kubectl("get", "serviceaccount", "default", check=False))

    def _has_leader(self) -> bool:
        holder = self.kubectl(
            "get", "lease", "spillover-scheduler", "-n", NAMESPACE,
            "-o", "jsonpath={.spec.holderIdentity}", check=False,
        )  # fmt: skip
        return bool(holder)

    def _admits_policies(self) -> bool:
        """Whether the API server reaches the webhook, without which no policy is stored."""
        policy = {
            "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
            "kind": "ResourcePolicy",
            "metadata": {"name": "probe", "namespace": "default"},
            "spec": {"units": [{"resource": "ecs"}]},
        }
        command = ("create", "--dry-run=server", "-f", "-", "-o", "name")
        return bool(self.kubectl(*command, stdin=yaml.safe_dump(policy), check=False))


@contextmanager
def running(cluster: Cluster, options: Options) -> Iterator[Cluster]:
    """The cluster, up for as long as the block runs."""
    cluster.up(options)
    try:
        yield cluster
    finally:
        cluster.down()


def _executable(word: str, tools: Programs) -> str:
    return sys.executable if word == "python" else tools.binary(word)


def answers(url: str | None) -> bool:
    """Whether a probe is content; no probe always is."""
    if url is None:
        return True
    # kube-scheduler makes itself a certificate; a kubelet's probe does not check it either.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    try:
        # Straight to it, whatever proxy the environment names.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, OSError):
        return False


def _is_ended(process: int) -> bool:
    return not processes.is_alive(process)
