"""From a Service to a TCP relay: what calls it by name calls the relay's address here.

in a cluster                                  here
───────────────────────────────────────────   ─────────────────────────────────────────────────
a Service with an address of its own          a relay (harness/relay.py) with an address in
                                              127.0.0.0/8, at the port of the Pods
clientConfig.service of a webhook             clientConfig.url with that address
NAME.NAMESPACE.svc in a Pod's arguments       that address
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.changes import webhook_client
from harness.pods import Pod

Object = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """`component` is the label that selects its Pods; `port` is theirs."""

    name: str
    namespace: str
    component: str
    port: int
    address: str

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc"


_COMPONENT = "app.kubernetes.io/component"


def services(objects: Sequence[Object], addresses: Sequence[str]) -> list[Service]:
    """Those of the manifests, each with one of the addresses."""
    found = [each for each in objects if each["kind"] == "Service"]
    return [
        Service(
            name=each["metadata"]["name"],
            namespace=each["metadata"]["namespace"],
            component=each["spec"]["selector"][_COMPONENT],
            port=_port(each, objects),
            address=address,
        )
        for each, address in zip(found, addresses, strict=False)
    ]


def redirected(objects: Sequence[Object], found: Sequence[Service]) -> list[Object]:
    """The objects, with webhooks that call the relays."""
    by_name = {each.name: each for each in found}
    return [_redirected(each, by_name) if "webhooks" in each else each for each in objects]


def relay_config(service: Service, pods: Sequence[Pod]) -> str:
    """Of a relay in front of these Pods."""
    targets = [
        {"address": pod.address, "port": service.port, "probe": pod.containers[0].probe}
        for pod in pods
    ]
    return json.dumps({"address": service.address, "port": service.port, "targets": targets})


def component_of(deployment: Object) -> str:
    return str(deployment["spec"]["selector"]["matchLabels"][_COMPONENT])


def _port(service: Object, objects: Sequence[Object]) -> int:
    """The number behind the name of the target port."""
    (name,) = (port["targetPort"] for port in service["spec"]["ports"])
    (deployment,) = (
        each
        for each in objects
        if each["kind"] == "Deployment"
        and component_of(each) == service["spec"]["selector"][_COMPONENT]
    )
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return int(next(p["containerPort"] for p in container["ports"] if p["name"] == name))


def _redirected(configuration: Object, by_name: Mapping[str, Service]) -> Object:
    webhooks = []
    for webhook in configuration["webhooks"]:
        asked = webhook["clientConfig"]["service"]
        service = by_name[asked["name"]]
        client = webhook_client(asked, service.address, service.port)
        webhooks.append({**webhook, "clientConfig": client})
    return {**configuration, "webhooks": webhooks}
