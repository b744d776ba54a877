"""Credential plugins of a kubeconfig, such as kubelogin: a program that prints a credential.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from podpass.crypto.secret import Secret
from podpass.kubernetes.client.errors import BadKubeconfig, KubeError

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_TIMEOUT_SECONDS = 60.0
# A user who signs in with a device code needs minutes.
_INTERACTIVE_TIMEOUT_SECONDS = 900.0
_EARLY_SECONDS = 10.0


class PluginFailed(KubeError):
    """A credential plugin is missing, failed, or printed no credential."""

    code = "credential_plugin_failed"
    hint = "run the command of the kubeconfig's user yourself; kubectl needs it too"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(401, "Unauthorized", message)
        if hint:
            self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginCredential:
    """The credential that a plugin printed; `expires` is in epoch seconds, or None."""

    token: Secret | None = None
    certificate: str | None = None
    key: Secret | None = None
    expires: float | None = None


@dataclass(slots=True, kw_only=True)
class ExecPlugin:
    """A plugin, and its credential until it expires.

    `cluster` is passed to the plugin in KUBERNETES_EXEC_INFO, if the kubeconfig says so.
    """

    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    version: str
    install_hint: str
    interactive: bool
    cluster: Mapping[str, Any] | None
    _cached: PluginCredential | None = field(default=None, repr=False)
    # A plugin may open a page to sign in, so connections that need a credential wait for one run.
    _running: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    def forget(self) -> None:
        """Discard the credential, because the API server refused it."""
        self._cached = None

    async def get(self) -> PluginCredential:
        """Return the credential; run the plugin if there is none, or if it expires soon.

        Raises PluginFailed.
        """
        async with self._running:
            found = self._cached
            if found is None or (
                found.expires is not None and found.expires - _EARLY_SECONDS <= time.time()
            ):
                found = self._cached = parse_credential(await self._run(), self.version)
            return found

    async def _run(self) -> bytes:
        if shutil.which(self.command) is None:
            raise PluginFailed(
                f"the credential plugin {self.command} is not installed", self.install_hint
            )
        wait = _INTERACTIVE_TIMEOUT_SECONDS if self.interactive else _TIMEOUT_SECONDS
        process = await asyncio.create_subprocess_exec(
            self.command,
            *self.arguments,
            stdin=None if self.interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=self._build_environment(),
        )
        try:
            async with asyncio.timeout(wait):
                output, _ = await process.communicate()
        except TimeoutError as exc:
            process.kill()
            await process.wait()
            raise PluginFailed(
                f"the credential plugin {self.command} did not end within {wait:.0f} seconds"
            ) from exc
        if process.returncode != 0:
            raise PluginFailed(
                f"the credential plugin {self.command} exited with {process.returncode}"
            )
        return output

    def _build_environment(self) -> dict[str, str]:
        spec: dict[str, Any] = {"interactive": self.interactive}
        if self.cluster is not None:
            spec["cluster"] = dict(self.cluster)
        info = {"kind": "ExecCredential", "apiVersion": self.version, "spec": spec}
        return {
            **os.environ,  # noqa: TID251 a plugin inherits the environment, as with kubectl
            **self.environment,
            "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode(),
        }


def parse_plugin(entry: Mapping[str, Any], cluster: Mapping[str, Any], path: Path) -> ExecPlugin:
    """Parse the member `exec` of a user. Raises BadKubeconfig."""
    command, version = str(entry.get("command") or ""), str(entry.get("apiVersion") or "")
    if not command or version not in _VERSIONS:
        wanted = "a command" if not command else f"apiVersion {' or '.join(_VERSIONS)}"
        raise BadKubeconfig(f"{path}: exec must have {wanted}", path=str(path), entry="exec")
    mode = str(entry.get("interactiveMode") or "IfAvailable")
    has_terminal = sys.stdin is not None and sys.stdin.isatty()
    if mode == "Always" and not has_terminal:
        raise BadKubeconfig(
            f"{path}: the credential plugin {command} needs a terminal",
            hint="run the command in a terminal, or use a plugin that signs in without a user",
        )
    # A command with a slash is relative to the kubeconfig, as in client-go.
    if "/" in command:
        command = str(path.parent.absolute() / command)
    return ExecPlugin(
        command=command,
        arguments=tuple(str(each) for each in entry.get("args") or ()),
        environment={str(e["name"]): str(e["value"]) for e in entry.get("env") or ()},
        version=version,
        install_hint=str(entry.get("installHint") or "").strip(),
        interactive=mode != "Never" and has_terminal,
        cluster=_describe_cluster(cluster) if entry.get("provideClusterInfo") else None,
    )


def _describe_cluster(cluster: Mapping[str, Any]) -> dict[str, Any]:
    members = (
        "server",
        "tls-server-name",
        "insecure-skip-tls-verify",
        "certificate-authority-data",
        "proxy-url",
    )
    found = {name: cluster[name] for name in members if cluster.get(name)}
    for extension in cluster.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            found["config"] = extension.get("extension")
    return found


def parse_credential(output: bytes, version: str) -> PluginCredential:
    """Parse the output of a plugin; error messages never contain the output. Raises PluginFailed."""
    try:
        document = orjson.loads(output)
        status = document["status"]
        expires = status.get("expirationTimestamp")
        found = PluginCredential(
            token=Secret(status["token"]) if status.get("token") else None,
            certificate=status.get("clientCertificateData"),
            key=Secret(status["clientKeyData"]) if status.get("clientKeyData") else None,
            expires=datetime.fromisoformat(expires).timestamp() if expires else None,
        )
        is_known = (document["apiVersion"], document["kind"]) == (version, "ExecCredential")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise PluginFailed(f"the credential plugin printed no ExecCredential of {version}") from exc
    if not is_known:
        raise PluginFailed(f"the credential plugin printed no ExecCredential of {version}")
    if found.token is None and not (found.certificate and found.key):
        raise PluginFailed(
            "the credential plugin printed neither a token nor a certificate with its key"
        )
    return found


def load_certificate(tls: Any, found: PluginCredential) -> None:
    """Use the client certificate of a credential for new connections. Raises PluginFailed."""
    if not found.certificate or found.key is None:
        return
    # The ssl module reads only files; this one has mode 0600 and is deleted at once.
    with tempfile.NamedTemporaryFile("w") as both:
        both.write(f"{found.certificate}\n{found.key.reveal()}")
        both.flush()
        try:
            tls.load_cert_chain(both.name)
        except OSError as exc:
            raise PluginFailed(
                "the credential plugin printed an invalid certificate or key"
            ) from exc
