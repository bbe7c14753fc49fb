"""The agent's settings: flags, or environment variables that start with SPILLOVER_."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, field_validator
from pydantic_settings import SettingsConfigDict

from spillover.core.model.conventions import (
    DEFAULT_PROVIDER_TAINTS,
    DEFAULT_SCHEDULERS,
    NodeConventions,
    label_pair,
)
from spillover.federation.agent.leases import LEASE_SECONDS
from spillover.serving.settings import PlacementSettings, Port


class Settings(PlacementSettings):
    """Settings of the agent. `kubeconfig` is for the member."""

    model_config = SettingsConfigDict(cli_prog_name="spillover federation agent")

    engine: Literal["kubeadmiral"] = Field(
        "kubeadmiral", description="The federation engine of the hub."
    )
    mode: Literal["report", "limit"] = Field(
        "report",
        description="report: only tells the hub about this member. limit: also keeps the member's "
        "limit in the annotation kubeadmiral.io/migration-configuration of the hub's Deployments.",
    )
    member: str = Field(min_length=1, description="Name of this member at the hub.")
    hub_kubeconfig: Path = Field(description="Kubeconfig file for the hub.")
    hub_namespace: str = Field(
        "spillover-agents", description="Namespace of the hub for the agents' Leases."
    )
    event_after_seconds: PositiveFloat = Field(
        120.0, description="Pods that are unschedulable for longer get an Event on the hub."
    )
    dead_after_seconds: float = Field(
        60.0,
        ge=LEASE_SECONDS,
        description="In the mode limit: after this time without a renewal of its Lease, a member's "
        "agent is dead, and its limit is removed.",
    )
    scheduler_rest_seconds: PositiveFloat = Field(
        60.0,
        description="In the mode limit: when the member's scheduler does not decide, one replica "
        "comes back on trial after this time. After each failure the time is twice as long.",
    )
    health_address: str = Field("127.0.0.1", description="Address for probes.")
    health_port: Port = Field(8890, description="Port for probes.")

    @field_validator("member")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not all(part.isalnum() for part in value.replace(".", "-").split("-")):
            raise ValueError(f"{value!r} is not the name of a cluster object")
        return value

    def conventions(self) -> NodeConventions:
        return NodeConventions(
            virtual_label=label_pair(self.virtual_node_label),
            elastic_label=label_pair(self.elastic_node_label),
            provider_taints=frozenset(DEFAULT_PROVIDER_TAINTS),
            serverless_labels=frozenset(map(label_pair, self.serverless_labels)),
            schedulers=frozenset(DEFAULT_SCHEDULERS),
        )


def read_settings(arguments: list[str]) -> Settings:
    """Raises pydantic.ValidationError, which names the field, and SystemExit for unknown flags."""
    return Settings(_cli_parse_args=arguments)
