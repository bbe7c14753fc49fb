"""Keys of Secrets as files, kept as the Secrets have them: a kubelet's part in mounting them."""

import asyncio
import base64
import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 5.0


class MountedSecrets:
    """`secrets` are those of pod.json, `kubeconfig` is an administrator's."""

    def __init__(
        self, secrets: Sequence[Mapping[str, Any]], folder: Path, kubeconfig: Path
    ) -> None:
        self._secrets = secrets
        self._folder = folder
        self._kubeconfig = kubeconfig
        self.there = asyncio.Event()
        """Every file has been written once. A container starts no sooner."""

    async def keep(self, stop: asyncio.Event) -> None:
        """Until told to stop. The API server may be away meanwhile."""
        while not stop.is_set():
            try:
                if await asyncio.to_thread(self._copy):
                    self.there.set()
            except (OSError, ValueError) as error:
                print(f"Secrets are not mounted this time: {error}", file=sys.stderr)
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    def _copy(self) -> bool:
        """Whether all of them have all their keys."""
        copied = [self._copy_one(secret) for secret in self._secrets]
        return all(copied)

    def _copy_one(self, secret: Mapping[str, Any]) -> bool:
        data = json.loads(self._get(secret["path"])).get("data") or {}
        if not all(data.get(key) for key in secret["items"]):
            return False
        (self._folder / secret["folder"]).mkdir(exist_ok=True)
        for key, name in secret["items"].items():
            file = self._folder / secret["folder"] / name
            content = base64.b64decode(data[key])
            if not file.exists() or file.read_bytes() != content:
                new = file.with_suffix(".new")
                new.touch(mode=0o600)
                new.write_bytes(content)
                new.rename(file)
        return True

    def _get(self, path: str) -> bytes:
        config = yaml.safe_load(self._kubeconfig.read_text())
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if cluster["server"].startswith("https:"):
            context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
            context.load_cert_chain(user["client-certificate"], user["client-key"])
            handlers.append(urllib.request.HTTPSHandler(context=context))
        opener = urllib.request.build_opener(*handlers)
        with opener.open(cluster["server"] + path, timeout=_ANSWER_SECONDS) as answer:
            return bytes(answer.read())
