"""Credentials of a kubeconfig file: a token, a certificate, or a helper (exec, OIDC).

The import of the library that reads the file takes 60 MB and a second. Only a process that reads a
kubeconfig file imports this module.
"""

import ssl
from pathlib import Path

from kubernetes_asyncio import config
from kubernetes_asyncio.client import Configuration

_DEFAULT_NAMESPACE = "default"


class Kubeconfig:
    """The credentials of one context. `read` creates it."""

    def __init__(self, configuration: Configuration, namespace: str) -> None:
        self._configuration = configuration
        self.namespace = namespace
        self.server = str(configuration.host).rstrip("/")

    async def headers(self) -> dict[str, str]:
        """Raises OSError for a token that cannot be read."""
        try:
            token = await self._configuration.get_api_key_with_prefix("BearerToken")
        except config.ConfigException as error:
            raise OSError(str(error)) from error
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

    def identity(self) -> tuple[bytes, ...]:
        settings = self._configuration
        files = (settings.ssl_ca_cert, settings.cert_file, settings.key_file)
        return tuple(Path(file).read_bytes() if file else b"" for file in files)


async def read(file: Path | None, context: str | None) -> Kubeconfig:
    """Reads a kubeconfig file. If `file` is None, it is $KUBECONFIG if set, else ~/.kube/config.
    `context` names a context of the file; None is its current context. Depending on the content of
    the file, any exception may be raised."""
    configuration = Configuration()
    name = str(file) if file is not None else None
    await config.load_kube_config(
        config_file=name, context=context, client_configuration=configuration
    )
    contexts, active = config.list_kube_config_contexts(config_file=name)
    chosen = next((each for each in contexts if each["name"] == context), active)
    namespace = str(chosen["context"].get("namespace") or _DEFAULT_NAMESPACE)
    return Kubeconfig(configuration, namespace)
