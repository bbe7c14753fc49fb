"""The address of the API server, and the credentials for it."""

import os
import ssl
from pathlib import Path
from typing import Protocol

from spillover.kube.service_account import ServiceAccount, is_pod


class CredentialsError(Exception):
    """The credentials cannot be read."""


class Login(Protocol):
    """One source of credentials.

    `server` is an address such as https://10.0.0.1:443, without a slash at the end. `namespace` is
    the default namespace of a command."""

    @property
    def server(self) -> str: ...

    @property
    def namespace(self) -> str: ...

    async def headers(self) -> dict[str, str]: ...

    def ssl_context(self) -> ssl.SSLContext: ...

    def identity(self) -> tuple[bytes, ...]:
        """The content of the TLS context: the authorities and the client's certificate."""


class Credentials:
    """The credentials of this process.

    The source is a kubeconfig file if one is named (by `kubeconfig` or in $KUBECONFIG). Otherwise
    it is the ServiceAccount in a Pod, and ~/.kube/config elsewhere. `reload` reads the source, and
    must be called first."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """`context` names a context of the kubeconfig. Default: its current context."""
        self._kubeconfig = kubeconfig
        self._context = context
        self._login: Login | None = None

    async def reload(self) -> None:
        """Reads the credentials. Raises CredentialsError if they do not exist or cannot be read."""
        named = self._kubeconfig is not None or "KUBECONFIG" in os.environ
        try:
            if not named and is_pod():
                self._login = ServiceAccount()
            else:
                from spillover.kube import kubeconfig  # noqa: PLC0415 - see there

                self._login = await kubeconfig.read(self._kubeconfig, self._context)
        except Exception as error:  # the file may have any content
            raise CredentialsError(f"credentials: {type(error).__name__} {error}") from error

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context, or of the Pod."""
        return self._known().namespace

    @property
    def server(self) -> str:
        """Such as https://10.0.0.1:443, without a slash at the end."""
        return self._known().server

    async def headers(self) -> dict[str, str]:
        try:
            return await self._known().headers()
        except (OSError, ValueError) as error:
            raise CredentialsError(f"token: {error}") from error

    def ssl_context(self) -> ssl.SSLContext:
        context = self._known().ssl_context()
        # Python 3.13 requires by default that an authority declares the usage and the identifier of
        # its key. Some authorities of real clusters do not; kubelet and kube-scheduler accept them.
        # Python still checks chain, dates and host name.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def identity(self) -> tuple[bytes, ...]:
        """The content of `ssl_context`. If it changes, connections need a new context. Raises
        CredentialsError."""
        try:
            return self._known().identity()
        except OSError as error:
            raise CredentialsError(f"certificates: {error}") from error

    def _known(self) -> Login:
        if self._login is None:
            raise RuntimeError("Credentials are used before they were read")
        return self._login
