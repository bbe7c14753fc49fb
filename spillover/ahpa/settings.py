"""The settings of the predictive autoscaler: flags, or environment variables that start with
SPILLOVER_."""

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, PositiveFloat, field_validator
from pydantic_settings import SettingsConfigDict

from spillover.serving.settings import Port, ServiceSettings


class Settings(ServiceSettings):
    """Settings of the predictive autoscaler."""

    model_config = SettingsConfigDict(cli_prog_name="python -m spillover.ahpa")

    prometheus_url: str = Field(
        "",
        description="Prometheus, where no ConfigMap names one. A path is the prefix of its API.",
    )
    queries_file: Path | None = Field(
        None, description="YAML file with queries in place of the built-in ones, or besides."
    )
    time_zone: str = Field("UTC", description="Zone of the times in spec.instanceBounds.")
    period: PositiveFloat = Field(
        60.0, description="Seconds between two decisions about the same object."
    )
    season: int = Field(
        86_400,
        ge=1440,
        description="Length of the rhythm that is looked for, in seconds; a multiple of 1440.",
    )
    hold: PositiveFloat = Field(
        600.0,
        description="While Prometheus does not answer, the last number of replicas is restored if "
        "somebody lowers it, for so many seconds.",
    )
    config_namespace: str = Field(
        "kube-system", description="Namespace of the ConfigMap application-intelligence."
    )
    address: str = Field("127.0.0.1", description="Address for the API server.")
    port: Port = Field(8446, description="Port for the API server.")
    tls_cert_file: Path = Field(
        Path("/etc/spillover/tls/tls.crt"), description="Certificate for the API server."
    )
    tls_key_file: Path = Field(
        Path("/etc/spillover/tls/tls.key"), description="Key of the certificate."
    )
    health_address: str = Field("127.0.0.1", description="Address for probes and metrics.")
    health_port: Port = Field(8447, description="Port for probes and metrics.")

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone such as Asia/Shanghai") from error
        return value

    @field_validator("season")
    @classmethod
    def _has_whole_samples(cls, value: int) -> int:
        if value % 1440:
            raise ValueError(f"{value} is no multiple of 1440")
        return value


def read_settings(arguments: list[str]) -> Settings:
    """Raises pydantic.ValidationError, which names the field, and SystemExit for unknown flags."""
    return Settings(_cli_parse_args=arguments)
