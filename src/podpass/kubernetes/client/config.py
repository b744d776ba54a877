"""Address, trust and credential for an API server, from a kubeconfig or from inside a pod."""

import base64
import binascii
import logging
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from podpass.crypto.secret import Secret
from podpass.kubernetes.client.errors import BadKubeconfig, EntryNotFound, KubeError
from podpass.kubernetes.client.exec_plugin import ExecPlugin, parse_plugin
from podpass.kubernetes.service_account.names import MOUNT_PATH

_log = logging.getLogger(__name__)

_UNSUPPORTED = ("auth-provider", "username")
_PROXY_SCHEMES = ("http", "https")
_CERTIFICATE_FILES = ("certificate-authority", "client-certificate", "client-key")

FileVersion = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The address of an API server and the credential for it.

    `server` is an origin without trailing slash. `token_file` is read at each request, because the kubelet
    renews it in place; `ca_file` is read again when it has changed. `proxy` is a URL, which may contain a
    password. `files` are those of the kubeconfig, with their versions before they were read.
    """

    server: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str | None = None
    token: Secret | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    proxy: Secret | None = None
    plugin: ExecPlugin | None = None
    files: Mapping[Path, FileVersion] = field(default_factory=dict)

    def is_outdated(self) -> bool:
        """Return whether one of the files was written or replaced since it was read."""
        return any(_version(path) != version for path, version in self.files.items())

    def headers(self) -> dict[str, str]:
        token = self.token.reveal() if self.token else None
        if self.token_file is not None:
            try:
                token = self.token_file.read_text().strip()
            except OSError as exc:
                raise KubeError(
                    401, "Unauthorized", f"cannot read the token file {self.token_file}"
                ) from exc
        return {"authorization": f"Bearer {token}"} if token else {}


def read_kubeconfig(path: Path, context_name: str = "") -> Target:
    """Read a context of a kubeconfig, by default the current one.

    Files are relative to the folder of the kubeconfig; `*-data` has precedence over a file, as in client-go.
    Raises BadKubeconfig, naming the file and the entry.
    """
    files = {path: _version(path)}
    config = _load(path)
    chosen = context_name or _text(config, "current-context")
    context = _named(config, "contexts", "context", chosen, path)
    cluster = _named(config, "clusters", "cluster", _text(context, "cluster"), path)
    user = _named(config, "users", "user", _text(context, "user"), path)
    for entry in (cluster, user):
        for name in _UNSUPPORTED:
            if entry.get(name):
                raise BadKubeconfig(f"{path}: {name} is not supported", path=str(path), entry=name)
    server = _text(cluster, "server").rstrip("/")
    if cluster.get("insecure-skip-tls-verify"):
        _check_insecure(cluster, server, path)
    if not server.startswith(("https://", "http://")):
        raise BadKubeconfig(f"{path}: server {server!r} is not a URL", path=str(path))
    token_file, plugin = user.get("tokenFile"), user.get("exec")
    named = [
        entry[name] for entry in (cluster, user) for name in _CERTIFICATE_FILES if name in entry
    ]
    files |= {file: _version(file) for file in (path.parent / str(each) for each in named)}
    return Target(
        server=server,
        tls=_tls(cluster, user, path) if server.startswith("https:") else None,
        server_name=cluster.get("tls-server-name") or None,
        token=Secret(str(user["token"])) if user.get("token") else None,
        token_file=path.parent / token_file if token_file else None,
        proxy=_parse_proxy(_text(cluster, "proxy-url"), path),
        plugin=parse_plugin(plugin, cluster, path) if isinstance(plugin, dict) else None,
        files=files,
    )


def read_current_context(path: Path) -> str:
    """Return the name of the current context, empty if there is none. Raises BadKubeconfig."""
    return _text(_load(path), "current-context")


def _load(path: Path) -> Any:
    import yaml  # imported late: a pod has no kubeconfig and needs no YAML

    try:
        return yaml.safe_load(path.read_text())
    except OSError as exc:
        kind = EntryNotFound if isinstance(exc, FileNotFoundError) else BadKubeconfig
        raise kind(
            f"cannot read {path}: {exc.strerror}",
            hint="pass the path of an existing kubeconfig with --kubeconfig or KUBECONFIG",
            path=str(path),
        ) from exc
    except (ValueError, yaml.YAMLError) as exc:
        raise BadKubeconfig(
            f"cannot read {path}: it is not YAML",
            hint="correct the file, or pass another one with --kubeconfig or KUBECONFIG",
            path=str(path),
        ) from exc


def _check_insecure(cluster: dict[str, Any], server: str, path: Path) -> None:
    """Warn that the server is not verified; refuse a CA that would have no effect, as client-go does."""
    if cluster.get("certificate-authority") or cluster.get("certificate-authority-data"):
        raise BadKubeconfig(
            f"{path}: insecure-skip-tls-verify and a certificate-authority exclude each other",
            hint="remove insecure-skip-tls-verify",
            path=str(path),
            entry="insecure-skip-tls-verify",
        )
    _log.warning(
        "api_server_not_verified",
        extra={
            "server": server,
            "kubeconfig": str(path),
            "cause": "insecure-skip-tls-verify: every host on the path can read the credential",
            "hint": "set certificate-authority instead",
        },
    )


def _parse_proxy(url: str, path: Path) -> Secret | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        supported = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname)
    except ValueError:
        supported = False
    if not supported:
        # The URL may contain a password.
        raise BadKubeconfig(
            f"{path}: proxy-url is not the URL of an HTTP proxy",
            hint="use http://HOST:PORT or https://HOST:PORT; SOCKS is not supported",
            path=str(path),
            entry="proxy-url",
        )
    return Secret(url)


def in_cluster(environ: Mapping[str, str], folder: Path = Path(MOUNT_PATH)) -> Target:
    """Use the ServiceAccount token that the kubelet mounted into this pod.

    Raises BadKubeconfig outside a pod.
    """
    ca_file = folder / "ca.crt"
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not ca_file.exists():
        raise BadKubeconfig(
            "not in a pod: KUBERNETES_SERVICE_HOST is not set or no ServiceAccount token is mounted",
            hint="run it in a pod with a mounted ServiceAccount token, or pass --kubeconfig",
        )
    host = f"[{host}]" if ":" in host else host
    try:
        tls = ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as exc:
        raise BadKubeconfig(f"{ca_file} cannot be read", path=str(ca_file)) from exc
    return Target(
        server=f"https://{host}:{port}", tls=tls, token_file=folder / "token", ca_file=ca_file
    )


def _version(path: Path) -> FileVersion:
    """Return a value that changes when the file is written or replaced; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _text(entry: Any, name: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""


def _named(config: Any, group: str, kind: str, name: str, path: Path) -> dict[str, Any]:
    entries = config.get(group) if isinstance(config, dict) else None
    for entry in entries or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return dict(entry.get(kind) or {})
    hint = None
    if kind == "context":
        hint = (
            "choose one with `kubectl config use-context`; `kubectl config get-contexts` lists them"
        )
    fault = f"no {kind} named {name!r}" if name else f"no {kind} is chosen"
    raise EntryNotFound(f"{path}: {fault}", hint=hint, path=str(path), entry=name)


def _tls(cluster: dict[str, Any], user: dict[str, Any], path: Path) -> ssl.SSLContext:
    try:
        ca = _pem(cluster, "certificate-authority", path)
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        certificate = _pem(user, "client-certificate", path)
        key = _pem(user, "client-key", path)
        if certificate and key:
            # The ssl module reads only files; this one has mode 0600 and is deleted at once.
            with tempfile.NamedTemporaryFile() as both:
                both.write(certificate + b"\n" + key)
                both.flush()
                context.load_cert_chain(both.name)
    except (OSError, ValueError, ssl.SSLError) as exc:
        raise BadKubeconfig(
            f"{path}: a certificate or key is not valid, or they do not match"
        ) from exc
    return context


def _pem(entry: dict[str, Any], name: str, path: Path) -> bytes | None:
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as exc:
            raise BadKubeconfig(f"{path}: {name}-data is not base64", path=str(path)) from exc
    if file := entry.get(name):
        try:
            return Path(path.parent, file).read_bytes()
        except OSError as exc:
            fault = f"{path}: {name}, {file}, cannot be read: {exc.strerror}"
            raise BadKubeconfig(fault, path=str(path), file=file) from exc
    return None
