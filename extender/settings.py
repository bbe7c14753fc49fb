"""The extender's settings: flags, or environment variables that start with SPILLOVER_."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from spillover.core.conventions import (
    DEFAULT_PROVIDER_TAINTS,
    DEFAULT_SCHEDULERS,
    SERVERLESS_LABELS,
    NodeConventions,
    label_pair,
)

Port = Annotated[int, Field(ge=0, le=65535)]

_NEVER_A_PROVIDER = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")


class Settings(BaseSettings):
    """Settings of the extender."""

    model_config = SettingsConfigDict(
        env_prefix="SPILLOVER_",
        cli_prog_name="python -m extender",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        extra="forbid",
    )

    kubeconfig: Path | None = Field(
        None, description="Kubeconfig file. Default: the Pod's ServiceAccount, else $KUBECONFIG."
    )
    address: str = Field(
        "127.0.0.1",
        description="Address for kube-scheduler's requests. They carry no credentials and place "
        "pods: leave it on loopback.",
    )
    port: Port = Field(8888, description="Port for kube-scheduler's requests.")
    health_address: str = Field("127.0.0.1", description="Address for probes and metrics.")
    health_port: Port = Field(8889, description="Port for probes and metrics.")
    virtual_node_label: str = Field(
        "type=virtual-kubelet", description="Label of virtual nodes, as key=value."
    )
    elastic_node_label: str = Field(
        "goatscaler.io/managed=true",
        description="Label of nodes that an autoscaler manages, as key=value.",
    )
    provider_taints: list[str] = Field(
        sorted(DEFAULT_PROVIDER_TAINTS),
        description="Keys of the taints that keep pods off virtual nodes by default.",
    )
    serverless_labels: list[str] = Field(
        sorted(f"{key}={value}" for key, value in SERVERLESS_LABELS),
        description="Labels, as key=value, by which a pod under no policy asks for virtual nodes.",
    )
    labels_in_binding: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="Whether the API server copies a Binding's labels onto the pod: by default it "
        "does from 1.35 on. 'no' patches them before, for a mixed or switched-off control plane.",
    )
    namespace: str = Field(
        "spillover-system", description="Namespace of the scheduler's Lease and of our own object."
    )
    lease: str = Field(
        "spillover-scheduler",
        description="Name of the Lease by which the scheduler beside this extender is elected. "
        "Empty: there is no leader election, and no more than one scheduler with its extender.",
    )
    host_name: str = Field(
        "", description="Host in the identity of the scheduler beside us. Default: our hostname."
    )
    schedulers: list[str] = Field(
        sorted(DEFAULT_SCHEDULERS),
        description="Names of the profiles in the scheduler's configuration. Pods of others are "
        "refused.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log lines to write."
    )

    @field_validator("virtual_node_label", "elastic_node_label")
    @classmethod
    def _is_a_label(cls, value: str) -> str:
        label_pair(value)
        return value

    @field_validator("serverless_labels")
    @classmethod
    def _are_labels(cls, values: list[str]) -> list[str]:
        for value in values:
            label_pair(value)
        return values

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
            schedulers=frozenset(self.schedulers),
        )


def read_settings(arguments: list[str]) -> Settings:
    """Raises pydantic.ValidationError, which names the field, and SystemExit for unknown flags."""
    return Settings(_cli_parse_args=arguments)
