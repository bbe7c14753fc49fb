"""The settings of the keeper of the certificates: flags, or environment variables that start with
SPILLOVER_."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from spillover.serving.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of what keeps certificates."""

    model_config = SettingsConfigDict(cli_prog_name="python -m certificates")

    secret: str = Field("spillover-webhook", description="Secret that holds the certificates.")
    names: list[str] = Field(
        ["spillover-webhook.spillover-system.svc"],
        description="Names and addresses by which the API server calls the server.",
    )
    configuration: str = Field(
        "spillover",
        description="Name of both webhook configurations, whose caBundle is kept. Empty: none.",
    )
    api_services: list[str] = Field([], description="Names of APIServices whose caBundle is kept.")
    certificate_hours: float = Field(
        90 * 24, gt=0, description="Life of a certificate. A third before its end it is renewed."
    )


def read_settings(arguments: list[str]) -> Settings:
    """Raises pydantic.ValidationError, which names the field, and SystemExit for unknown flags."""
    return Settings(_cli_parse_args=arguments)
