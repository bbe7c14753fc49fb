"""Where the API server is and how to log in: kubernetes_asyncio reads it, this keeps it fresh."""

import os
import ssl
from pathlib import Path

from kubernetes_asyncio import config
from kubernetes_asyncio.client import Configuration

_DEFAULT_NAMESPACE = "default"


class CredentialsError(Exception):
    """The credentials cannot be read."""


class Credentials:
    """Those of a kubeconfig file that is named (here or in $KUBECONFIG), else in a Pod its
    ServiceAccount's, else ~/.kube/config. A ServiceAccount's token is re-read every minute;
    `reload` reads everything anew."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """`context`: one of the kubeconfig's, instead of its current one."""
        self._kubeconfig = kubeconfig
        self._context = context
        self._namespace = _DEFAULT_NAMESPACE
        self._configuration = Configuration()

    async def reload(self) -> None:
        """Raises CredentialsError when there are none, or none that can be read."""
        fresh = Configuration()
        named = self._kubeconfig is not None or "KUBECONFIG" in os.environ
        try:
            if not named and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=fresh)
            else:
                file = str(self._kubeconfig) if self._kubeconfig else None
                await config.load_kube_config(
                    config_file=file, context=self._context, client_configuration=fresh
                )
                self._namespace = _namespace(file, self._context)
        except Exception as error:  # the file may be anything
            raise CredentialsError(f"credentials: {type(error).__name__} {error}") from error
        self._configuration = fresh

    @property
    def namespace(self) -> str:
        """That of the kubeconfig's context."""
        return self._namespace

    @property
    def server(self) -> str:
        """Such as https://10.0.0.1:443, without a slash at the end."""
        return str(self._configuration.host).rstrip("/")

    async def headers(self) -> dict[str, str]:
        try:
            token = await self._configuration.get_api_key_with_prefix("BearerToken")
        except (config.ConfigException, OSError) as error:
            raise CredentialsError(f"token: {error}") from error
        return {"Authorization": token} if token else {}

    def ssl_context(self) -> ssl.SSLContext:
        settings = self._configuration
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        # Python 3.13 checks by default that an authority says what its key is for, and identifies
        # it. Authorities of real clusters do not always; kubelet and kube-scheduler accept them.
        # Chain, dates and host name are checked all the same.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, keyfile=settings.key_file)
        if not settings.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _namespace(file: str | None, context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(config_file=file)
    chosen = next((each for each in contexts if each["name"] == context), active)
    return str(chosen["context"].get("namespace") or _DEFAULT_NAMESPACE)
