"""The extender's settings: flags, or environment variables that start with SPILLOVER_."""

from typing import Literal

from pydantic import Field, PositiveInt, field_validator
from pydantic_settings import SettingsConfigDict

from spillover.core.cache.crowds import MOST_TRIED
from spillover.core.model.conventions import (
    DEFAULT_PROVIDER_TAINTS,
    DEFAULT_SCHEDULERS,
    NodeConventions,
    label_pair,
    optional_label_pair,
)
from spillover.serving.settings import PlacementSettings, Port

_NEVER_A_PROVIDER = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")


class Settings(PlacementSettings):
    """Settings of the extender."""

    model_config = SettingsConfigDict(cli_prog_name="python -m extender")

    address: str = Field(
        "127.0.0.1",
        description="Address for kube-scheduler's requests. They carry no credentials and place "
        "pods: leave it on loopback.",
    )
    port: Port = Field(8888, description="Port for kube-scheduler's requests.")
    health_address: str = Field("127.0.0.1", description="Address for probes and metrics.")
    health_port: Port = Field(8889, description="Port for probes and metrics.")
    provider_taints: list[str] = Field(
        sorted(DEFAULT_PROVIDER_TAINTS),
        description="Keys of the taints that keep pods off virtual nodes by default.",
    )
    labels_in_binding: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="Whether the API server copies a Binding's labels onto the pod: by default it "
        "does from 1.35 on. 'no' patches them before, for a mixed or switched-off control plane.",
    )
    lease: str = Field(
        "spillover-scheduler",
        description="Name of the Lease by which the scheduler in the same Pod is elected. Empty: "
        "there is no leader election, and only one scheduler with its extender.",
    )
    host_name: str = Field(
        "",
        description="Host name in the Lease identity of the scheduler in the same Pod. Default: "
        "the hostname.",
    )
    schedulers: list[str] = Field(
        sorted(DEFAULT_SCHEDULERS),
        description="Names of the profiles in the scheduler's configuration. Pods of others are "
        "refused.",
    )
    tried_pods_per_namespace: PositiveInt = Field(
        MOST_TRIED,
        description="Number of waiting pods of one namespace that the scheduler tries. When more "
        "wait, new pods get a scheduling gate until there is room for them. Cluster autoscalers "
        "do not see pods with a gate.",
    )

    @field_validator("provider_taints")
    @classmethod
    def _are_providers_own(cls, keys: list[str]) -> list[str]:
        for key in keys:
            if key.startswith(_NEVER_A_PROVIDER):
                raise ValueError(f"{key} tells the state of a node; no decision may see past it")
        return keys

    def conventions(self) -> NodeConventions:
        return NodeConventions(
            virtual_label=label_pair(self.virtual_node_label),
            elastic_label=label_pair(self.elastic_node_label),
            provider_taints=frozenset(self.provider_taints),
            serverless_labels=frozenset(map(label_pair, self.serverless_labels)),
            serverless_namespaces=optional_label_pair(self.serverless_namespace_label),
            schedulers=frozenset(self.schedulers),
        )


def read_settings(arguments: list[str]) -> Settings:
    """Raises pydantic.ValidationError, which names the field, and SystemExit for unknown flags."""
    return Settings(_cli_parse_args=arguments)
