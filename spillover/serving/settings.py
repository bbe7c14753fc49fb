"""Settings that several services share. Each setting is a flag or an environment variable that
starts with SPILLOVER_."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from spillover.core.model.conventions import SERVERLESS_LABELS, label_pair, optional_label_pair

Port = Annotated[int, Field(ge=0, le=65535)]


class ServiceSettings(BaseSettings):
    """The settings of every service. A subclass sets `cli_prog_name`."""

    model_config = SettingsConfigDict(
        env_prefix="SPILLOVER_",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        extra="forbid",
    )

    kubeconfig: Path | None = Field(
        None, description="Kubeconfig file. Default: the Pod's ServiceAccount, else $KUBECONFIG."
    )
    namespace: str = Field("spillover-system", description="Namespace that Spillover runs in.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest severity of the log lines that are written."
    )


class PlacementSettings(ServiceSettings):
    """The settings of services that read nodes and pods: labels that mark the kinds of both."""

    virtual_node_label: str = Field(
        "type=virtual-kubelet", description="Label of virtual nodes, as key=value."
    )
    elastic_node_label: str = Field(
        "goatscaler.io/managed=true",
        description="Label of nodes that an autoscaler manages, as key=value.",
    )
    serverless_labels: list[str] = Field(
        sorted(f"{key}={value}" for key, value in SERVERLESS_LABELS),
        description="Labels, as key=value, by which a pod asks for serverless capacity.",
    )
    serverless_namespace_label: str = Field(
        "",
        description="Label, as key=value, of namespaces whose pods may ask by their own labels. "
        "Empty: pods of every namespace may.",
    )

    @field_validator("serverless_namespace_label")
    @classmethod
    def _is_a_label_or_none(cls, value: str) -> str:
        optional_label_pair(value)
        return value

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
