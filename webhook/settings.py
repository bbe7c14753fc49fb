"""The webhook's settings: flags, or environment variables that start with SPILLOVER_."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from spillover.api.labels import value_problem
from spillover.core.admission.mutate import AdmissionDefaults
from spillover.core.model.conventions import (
    DEFAULT_SCHEDULERS,
    NodeConventions,
    label_pair,
    optional_label_pair,
)
from spillover.serving.settings import PlacementSettings, Port


class Settings(PlacementSettings):
    """Settings of the webhook."""

    model_config = SettingsConfigDict(cli_prog_name="python -m webhook")

    address: str = Field("127.0.0.1", description="Address for the API server's requests.")
    port: Port = Field(8443, description="Port for the API server's requests.")
    health_address: str = Field("127.0.0.1", description="Address for probes and metrics.")
    health_port: Port = Field(8444, description="Port for probes and metrics.")
    route: bool = Field(
        True, description="Whether pods without a scheduler of their own get Spillover's."
    )
    scheduler_name: str = Field("spillover-scheduler", description="The scheduler that they get.")
    schedulers: list[str] = Field(
        sorted(DEFAULT_SCHEDULERS),
        description="Names of the profiles in the scheduler's configuration, beside "
        "--scheduler-name. Pods of others get no scheduling gate.",
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
    tls_cert_file: Path = Field(description="Serving certificate, read again when it changes.")
    tls_key_file: Path = Field(description="Its private key.")
    client_ca_file: Path | None = Field(
        None,
        description="Authorities of client certificates: only a client with one of theirs is "
        "answered. Default: everybody is.",
    )
    client_names: list[str] = Field(
        [], description="Common names of client certificates that are answered. Default: any."
    )

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
    def _names_are_certified(self) -> "Settings":
        if self.client_names and self.client_ca_file is None:
            raise ValueError("client-names needs client-ca-file")
        return self

    def conventions(self) -> NodeConventions:
        return NodeConventions(
            label_pair(self.virtual_node_label), label_pair(self.elastic_node_label)
        )

    def defaults(self) -> AdmissionDefaults:
        models = (value.rpartition("=") for value in self.gpu_models)
        return AdmissionDefaults(
            scheduler=self.scheduler_name,
            schedulers=frozenset({self.scheduler_name, *self.schedulers}),
            route=self.route,
            serverless_labels=frozenset(map(label_pair, self.serverless_labels)),
            serverless_namespaces=optional_label_pair(self.serverless_namespace_label),
            region=self.region,
            gpu_models={key: model for key, _, model in models},
        )


def read_settings(arguments: list[str]) -> Settings:
    """Raises pydantic.ValidationError, which names the field, and SystemExit for unknown flags."""
    return Settings(_cli_parse_args=arguments)
