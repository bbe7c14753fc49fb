"""The webhook's settings: flags, or environment variables that start with SPILLOVER_."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from spillover.api.labels import value_problem
from spillover.core.admission import AdmissionDefaults
from spillover.core.conventions import SERVERLESS_LABELS, NodeConventions, label_pair

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """Settings of the webhook."""

    model_config = SettingsConfigDict(
        env_prefix="SPILLOVER_",
        cli_prog_name="python -m webhook",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        extra="forbid",
    )

    kubeconfig: Path | None = Field(
        None, description="Kubeconfig file. Default: the Pod's ServiceAccount, else $KUBECONFIG."
    )
    address: str = Field("127.0.0.1", description="Address for the API server's requests.")
    port: Port = Field(8443, description="Port for the API server's requests.")
    health_address: str = Field("127.0.0.1", description="Address for probes and metrics.")
    health_port: Port = Field(8444, description="Port for probes and metrics.")
    route: bool = Field(
        True, description="Whether pods without a scheduler of their own get Spillover's."
    )
    scheduler_name: str = Field("spillover-scheduler", description="The scheduler that they get.")
    serverless_labels: list[str] = Field(
        sorted(f"{key}={value}" for key, value in SERVERLESS_LABELS),
        description="Labels, as key=value, by which a pod asks for serverless capacity.",
    )
    region: str = Field(
        "", description="Region of serverless pods where neither policy nor namespace says one."
    )
    gpu_models: list[str] = Field(
        [],
        description="GPU models of serverless pods, as RESOURCE=MODEL, or as KEY=VALUE=MODEL for a "
        "node selector.",
    )
    excluded_namespaces: list[str] = Field(
        ["kube-system", "spillover-system"], description="Namespaces whose pods are left alone."
    )
    virtual_node_label: str = Field(
        "type=virtual-kubelet", description="Label of virtual nodes, as key=value."
    )
    elastic_node_label: str = Field(
        "goatscaler.io/managed=true",
        description="Label of nodes that an autoscaler manages, as key=value.",
    )
    namespace: str = Field("spillover-system", description="Namespace of the Secret.")
    secret: str = Field("spillover-webhook", description="Secret that holds the certificates.")
    names: list[str] = Field(
        ["spillover-webhook.spillover-system.svc"],
        description="Names and addresses by which the API server calls the webhook.",
    )
    configuration: str = Field(
        "spillover", description="Name of both webhook configurations, whose caBundle is kept."
    )
    certificate_hours: float = Field(
        90 * 24, gt=0, description="Life of a certificate. A third before its end it is renewed."
    )
    tls_cert_file: Path | None = Field(
        None, description="Certificate that somebody else keeps, instead of one of our own."
    )
    tls_key_file: Path | None = Field(None, description="Its private key.")
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

    @field_validator("region")
    @classmethod
    def _is_a_value(cls, value: str) -> str:
        if problem := value_problem(value):
            raise ValueError(problem)
        return value

    @field_validator("gpu_models")
    @classmethod
    def _have_models(cls, values: list[str]) -> list[str]:
        for value in values:
            key, _, model = value.rpartition("=")
            if not key or not model:
                raise ValueError(f"{value!r} is not RESOURCE=MODEL or KEY=VALUE=MODEL")
            if problem := value_problem(model):
                raise ValueError(problem)
        return values

    @model_validator(mode="after")
    def _both_or_none(self) -> "Settings":
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls-cert-file and tls-key-file go together")
        return self

    def conventions(self) -> NodeConventions:
        return NodeConventions(
            label_pair(self.virtual_node_label), label_pair(self.elastic_node_label)
        )

    def defaults(self) -> AdmissionDefaults:
        models = (value.rpartition("=") for value in self.gpu_models)
        return AdmissionDefaults(
            scheduler=self.scheduler_name,
            route=self.route,
            serverless_labels=frozenset(map(label_pair, self.serverless_labels)),
            region=self.region,
            gpu_models={key: model for key, _, model in models},
        )


def read_settings(arguments: list[str]) -> Settings:
    """Raises pydantic.ValidationError, which names the field, and SystemExit for unknown flags."""
    return Settings(_cli_parse_args=arguments)
