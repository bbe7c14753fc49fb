"""Where the API server is and how to log in: kubernetes_asyncio reads it, this keeps it fresh."""

import os
import ssl
from pathlib import Path

from kubernetes_asyncio import config
from kubernetes_asyncio.client import Configuration


class Credentials:
    """In a Pod its ServiceAccount's, else those of a kubeconfig file (the given, $KUBECONFIG
    or ~/.kube). In a Pod the token is re-read every minute; `reload` reads everything anew."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._configuration = Configuration()

    async def reload(self) -> None:
        """Raises kubernetes_asyncio.config.ConfigException when there are no credentials."""
        fresh = Configuration()
        if self._kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=fresh)
        else:
            await config.load_kube_config(
                config_file=str(self._kubeconfig) if self._kubeconfig else None,
                client_configuration=fresh,
            )
        self._configuration = fresh

    @property
    def server(self) -> str:
        """Such as https://10.0.0.1:443, without a slash at the end."""
        return str(self._configuration.host).rstrip("/")

    async def headers(self) -> dict[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": token} if token else {}

    def ssl_context(self) -> ssl.SSLContext:
        settings = self._configuration
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, keyfile=settings.key_file)
        if not settings.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
