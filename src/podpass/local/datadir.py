"""The instance's folder: its version, its lock, the facts it was born with.

Everything an instance keeps lies under one folder of mode 0700. Files are written whole or not at all, so a
kill at any moment leaves either the old content or the new one.
"""

import hashlib
import json
import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from podpass import names
from podpass.crypto.secret import Secret
from podpass.errors import Error
from podpass.files import PRIVATE_FOLDER, private_folder, write_private

VERSION = "1"


class DataDirError(Error):
    """The data dir cannot be used."""

    code = "data_dir"
    hint = "name another folder with --data-dir D or PODPASS_DATA_DIR"


class WrongVersion(DataDirError):
    """The data dir was written by a podpass that keeps its data in another form."""

    code = "data_dir_version"


class NotWritable(DataDirError):
    """The data dir cannot be created, read or written."""

    code = "data_dir_not_writable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an instance is told apart by; made once, kept for its life.

    Shapes:  `ports` by service, those of the last start.
    """

    tenant_id: str
    subscription_id: str
    issuer_id: str
    admin_username: str
    admin_password: Secret
    control_token: Secret
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """The issuer's URL, with the trailing slash that AKS gives it."""
        return f"https://eastus.{names.ISSUER_SUFFIX}/{self.tenant_id}/{self.issuer_id}/"

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    def url(self, service: str) -> str:
        return f"https://127.0.0.1:{self.ports[service]}"

    def direct(self, service: str) -> str:
        """The origin for clients that go without the gateway; MSAL wants a name there."""
        return f"https://localhost:{self.ports[service]}"

    @classmethod
    def new(cls) -> "Facts":
        return cls(
            tenant_id=str(uuid.uuid4()),
            subscription_id=str(uuid.uuid4()),
            issuer_id=str(uuid.uuid4()),
            admin_username="admin@podpass.onmicrosoft.com",
            admin_password=Secret(secrets.token_urlsafe(24)),
            control_token=Secret(secrets.token_urlsafe(32)),
        )


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where each file of an instance lies; `root` is absolute."""

    root: Path

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    @property
    def id(self) -> str:
        """A short name for this folder, the same on every start."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def ca_file(self) -> Path:
        return self.path("ca", "ca.pem")

    @property
    def bundle(self) -> Path:
        return self.path("ca", "bundle.pem")

    @property
    def truststore(self) -> Path:
        return self.path("ca", "truststore.p12")

    @property
    def certs(self) -> Path:
        return self.path("ca", "certs")

    @property
    def public_files(self) -> tuple[Path, ...]:
        """What programs that trust this instance have to read; nothing secret."""
        return (self.ca_file, self.bundle, self.truststore, self.certs)

    @property
    def kubeconfig(self) -> Path:
        """The user's: tools add to it, and may lead it elsewhere."""
        return self.path("kubeconfig")

    @property
    def admin_kubeconfig(self) -> Path:
        """The instance's own, with the same rights."""
        return self.path("admin.kubeconfig")

    @property
    def status_file(self) -> Path:
        return self.path("status.json")

    @property
    def log_file(self) -> Path:
        return self.path("podpass.log")

    @property
    def lock_file(self) -> Path:
        return self.path("lock")

    def certificate(self, name: str) -> Path:
        return self.path("tls", f"{name}.pem")

    def key(self, name: str) -> Path:
        return self.path("tls", f"{name}.key")


def default_root(environ: Mapping[str, str]) -> Path:
    """Choose the data dir when none is named: `$XDG_STATE_HOME/podpass`."""
    state = environ.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    base = Path(state) if state.startswith("/") else _home() / ".local" / "state"
    return base / "podpass"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # Of a service's user, who may need no data dir; one that does is told to name it.
        return Path("/nonexistent")


def locate(named: Path | None, environ: Mapping[str, str]) -> DataDir:
    """Name the data dir without touching the disk."""
    root = named.expanduser() if named is not None else default_root(environ)
    return DataDir(Path(os.path.abspath(root)))  # noqa: PTH100 resolve() would follow symlinks


def prepare(data_dir: DataDir) -> None:
    """Create the folder, or check that it is one of ours; nothing is written into it yet.

    Errors:  WrongVersion, NotWritable, DataDirError when it holds something else.
    """
    root = data_dir.root
    try:
        private_folder(root)
        found = {entry.name for entry in root.iterdir()} - {"lock"}
        # Someone's home named by mistake must not become ours, nor change its mode.
        if "version" not in found and any(not name.endswith(".part") for name in found):
            raise DataDirError(f"{root} holds other files and is no podpass data dir", path=root)
        check_version(data_dir)
        root.chmod(PRIVATE_FOLDER)
    except OSError as exc:
        raise _not_writable(data_dir, exc) from exc


def claim(data_dir: DataDir) -> None:
    """Mark a prepared folder as ours, in this version.

    Errors:  NotWritable.
    """
    version = data_dir.path("version")
    try:
        if not version.exists():
            write_private(version, VERSION.encode() + b"\n")
    except OSError as exc:
        # Two starts at once take the unfinished file away from each other; one of them finishes.
        if not version.exists():
            raise _not_writable(data_dir, exc) from exc


def initialise(data_dir: DataDir) -> Facts:
    """Fill the folder on its first start and read the instance's facts. The caller holds the lock.

    Errors:  NotWritable, DataDirError when a file is damaged.
    """
    claim(data_dir)
    try:
        for folder in ("ca", "tls", "keys", "pods", "azure"):
            private_folder(data_dir.path(folder))
        # Writes even where all is there: a folder that is readable only would fail much later.
        write_private(data_dir.path("starts"), b"")
        data_dir.path("starts").unlink()
        return load_facts(data_dir)
    except OSError as exc:
        raise _not_writable(data_dir, exc) from exc


def _not_writable(data_dir: DataDir, exc: OSError) -> NotWritable:
    what = exc.filename or data_dir.root
    return NotWritable(f"cannot use {what} as a data dir: {exc.strerror}", path=data_dir.root)


def check_version(data_dir: DataDir) -> None:
    """Refuse a folder written in another form.

    Errors:  WrongVersion, with both versions.
    """
    try:
        found = data_dir.path("version").read_text("utf-8", "replace").strip()[:40]
    except FileNotFoundError:
        return
    except OSError as exc:
        raise _not_writable(data_dir, exc) from exc
    if found != VERSION:
        raise WrongVersion(
            f"{data_dir.root} has data of version {found!r}; this podpass reads version {VERSION}",
            hint="start it with the podpass that made it, or name a new folder with --data-dir D",
            found=found,
            wanted=VERSION,
        )


def load_facts(data_dir: DataDir) -> Facts:
    """Read the instance's facts; on the first start, make them.

    Errors:  DataDirError when the file is damaged.
    """
    path = data_dir.path("instance.json")
    if not path.exists():
        facts = Facts.new()
        save_facts(data_dir, facts)
        return facts
    try:
        return _read_facts(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DataDirError(
            f"{path} is damaged",
            hint=f"restore {path} from a copy, or start afresh in another --data-dir",
        ) from exc


def _read_facts(raw: dict[str, Any]) -> Facts:
    return Facts(
        tenant_id=str(raw["tenant_id"]),
        subscription_id=str(raw["subscription_id"]),
        issuer_id=str(raw["issuer_id"]),
        admin_username=str(raw["admin"]["username"]),
        admin_password=Secret(str(raw["admin"]["password"])),
        control_token=Secret(str(raw["control_token"])),
        ports={str(name): int(port) for name, port in raw["ports"].items()},
    )


def save_facts(data_dir: DataDir, facts: Facts) -> None:
    """Write `instance.json`, for the owner's eyes only."""
    raw = {
        "tenant_id": facts.tenant_id,
        "subscription_id": facts.subscription_id,
        "issuer_id": facts.issuer_id,
        "issuer": facts.issuer,
        "admin": {
            "username": facts.admin_username,
            "password": facts.admin_password.reveal(),
        },
        "control_token": facts.control_token.reveal(),
        "ports": dict(facts.ports),
    }
    write_private(data_dir.path("instance.json"), json.dumps(raw, indent=2).encode() + b"\n")


def remember_ports(data_dir: DataDir, facts: Facts, ports: Mapping[str, int]) -> Facts:
    """Keep the ports, so that an environment exported earlier fits the next start."""
    if dict(ports) == dict(facts.ports):
        return facts
    facts = replace(facts, ports=dict(ports))
    save_facts(data_dir, facts)
    return facts
