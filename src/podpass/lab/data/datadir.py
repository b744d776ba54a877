"""The data directory of an instance: file paths, data version and configuration.

All files of an instance are in one directory of mode 0700. Files are written atomically: after a crash, each
has either its old or its new content.
"""

import hashlib
import json
import os
import pwd
import secrets
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from podpass import names
from podpass.crypto.secret import Secret
from podpass.errors import Error
from podpass.files import PRIVATE_FOLDER, create_private_folder, write_private

VERSION = "1"
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class DataDirError(Error):
    """The data directory cannot be used."""

    code = "data_dir"
    hint = "use another directory: --data-dir D or PODPASS_DATA_DIR"


class WrongVersion(DataDirError):
    """The data directory has the data version of another podpass release."""

    code = "data_dir_version"


class ForeignOwner(DataDirError):
    """Another user owns the data directory, or may write to it."""

    code = "data_dir_owner"


class NotWritable(DataDirError):
    """The data directory cannot be created, read or written."""

    code = "data_dir_not_writable"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceConfig:
    """Identifiers and credentials of an instance, created on its first start.

    `ports` maps each service to its port of the last start.
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
        """Return the URL of the issuer, with a trailing slash as in AKS."""
        return f"https://eastus.{names.ISSUER_SUFFIX}/{self.tenant_id}/{self.issuer_id}/"

    @property
    def admin_id(self) -> str:
        """Return the object id of the administrator; it is the same on every start of an instance."""
        return str(uuid.uuid5(uuid.UUID(self.tenant_id), self.admin_username))

    @property
    def admin_domain(self) -> str:
        return self.admin_username.partition("@")[2]

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def console(self) -> str:
        return f"http://127.0.0.1:{self.ports['console']}"

    def url(self, service: str) -> str:
        return f"https://127.0.0.1:{self.ports[service]}"

    def direct_origin(self, service: str) -> str:
        """Return the origin of a service for clients without the gateway; MSAL requires a host name."""
        return f"https://localhost:{self.ports[service]}"

    @classmethod
    def new(cls, tenant_id: str = "") -> "InstanceConfig":
        return cls(
            tenant_id=tenant_id or str(uuid.uuid4()),
            subscription_id=str(uuid.uuid4()),
            issuer_id=str(uuid.uuid4()),
            admin_username="admin@podpass.onmicrosoft.com",
            # In hexadecimal, since `az login -p` reads a value that begins with "-" as an option.
            admin_password=Secret(secrets.token_hex(20)),
            control_token=Secret(secrets.token_urlsafe(32)),
        )


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths of the files of an instance; `root` is absolute."""

    root: Path

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    @property
    def id(self) -> str:
        """Return a short id of this directory, the same on every start."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def ca_file(self) -> Path:
        return self.path("ca", "ca.pem")

    @property
    def replaced_ca_chain(self) -> Path:
        """Return the file with the CA as signed by the CA that it replaced."""
        return self.path("ca", "replaced.pem")

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
        """Return the files without secrets that clients of the instance must read."""
        return (self.ca_file, self.bundle, self.truststore, self.certs)

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig of the user; tools such as kubectl may change it."""
        return self.path("kubeconfig")

    @property
    def admin_kubeconfig(self) -> Path:
        """Return the kubeconfig of the instance itself, with the same permissions."""
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
    """Return the default data directory: `$XDG_STATE_HOME/podpass`."""
    state = environ.get("XDG_STATE_HOME", "")
    # The XDG specification says that relative paths are ignored.
    base = Path(state) if state.startswith("/") else _home() / ".local" / "state"
    return base / "podpass"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # A user without a home directory: commands that need a data directory fail with a hint.
        return Path("/nonexistent")


def locate(path: Path | None, environ: Mapping[str, str]) -> DataDir:
    """Return the data directory without accessing the disk."""
    root = path.expanduser() if path is not None else default_root(environ)
    return DataDir(Path(os.path.abspath(root)))  # noqa: PTH100 resolve() would follow symlinks


def prepare(data_dir: DataDir) -> None:
    """Create the directory, or check that it is a data directory; write no file.

    Raises WrongVersion, NotWritable, ForeignOwner, DataDirError if it contains other files.
    """
    root = data_dir.root
    try:
        create_private_folder(root)
        found = {entry.name for entry in root.iterdir()} - {"lock"}
        # Do not use or change the mode of a directory with other files, such as a home directory.
        if "version" not in found and any(not name.endswith(".part") for name in found):
            raise DataDirError(
                f"{root} contains other files and is not a podpass data directory", path=root
            )
        check_version(data_dir)
        _check_owner(root, found)
        root.chmod(PRIVATE_FOLDER)
    except OSError as exc:
        raise _to_not_writable(data_dir, exc) from exc


def _check_owner(root: Path, found: set[str]) -> None:
    """Check that no other user can have put files into the directory: keys, images, or commands of pods.

    Raises ForeignOwner.
    """
    status = root.stat()
    if status.st_uid != os.geteuid():
        raise ForeignOwner(
            f"{root} belongs to the user {_user_name(status.st_uid)}, not to you",
            hint="run podpass as that user, or use another directory: --data-dir D",
            path=root,
        )
    if found and status.st_mode & _WRITABLE_BY_OTHERS:
        raise ForeignOwner(
            f"other users may write to {root}",
            hint=f"check its files, then run: chmod 700 {root}",
            path=root,
        )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def write_version(data_dir: DataDir) -> None:
    """Write the data version into a prepared directory. Raises NotWritable."""
    version = data_dir.path("version")
    try:
        if not version.exists():
            write_private(version, VERSION.encode() + b"\n")
    except OSError as exc:
        # Two concurrent starts may remove each other's temporary file; one of them succeeds.
        if not version.exists():
            raise _to_not_writable(data_dir, exc) from exc


def initialise(data_dir: DataDir, *, tenant_id: str = "") -> InstanceConfig:
    """Create subdirectories and configuration on the first start; return the configuration.

    The caller holds the lock.

    `tenant_id` is the tenant of a new directory; by default a new one is generated.

    Raises NotWritable, DataDirError if a file is damaged.
    """
    write_version(data_dir)
    try:
        for folder in ("ca", "tls", "keys", "pods", "azure"):
            create_private_folder(data_dir.path(folder))
        # Test that the directory is writable now; otherwise a later write would fail.
        write_private(data_dir.path("starts"), b"")
        data_dir.path("starts").unlink()
        return load_config(data_dir, tenant_id=tenant_id)
    except OSError as exc:
        raise _to_not_writable(data_dir, exc) from exc


def _to_not_writable(data_dir: DataDir, exc: OSError) -> NotWritable:
    path = exc.filename or data_dir.root
    return NotWritable(f"cannot use {path} as a data directory: {exc.strerror}", path=data_dir.root)


def check_version(data_dir: DataDir) -> None:
    """Check the data version of the directory. Raises WrongVersion, with both versions."""
    try:
        found = data_dir.path("version").read_text("utf-8", "replace").strip()[:40]
    except FileNotFoundError:
        return
    except OSError as exc:
        raise _to_not_writable(data_dir, exc) from exc
    if found != VERSION:
        raise WrongVersion(
            f"{data_dir.root} has data version {found!r}; this podpass supports version {VERSION}",
            hint="use the podpass release that created it, or a new directory with --data-dir D",
            found=found,
            wanted=VERSION,
        )


def load_config(data_dir: DataDir, *, tenant_id: str = "") -> InstanceConfig:
    """Read the configuration of the instance; create it on the first start.

    Raises DataDirError if the file is damaged.
    """
    path = data_dir.path("instance.json")
    if not path.exists():
        config = InstanceConfig.new(tenant_id)
        save_config(data_dir, config)
        return config
    try:
        raw = json.loads(path.read_bytes())
        return InstanceConfig(
            tenant_id=str(raw["tenant_id"]),
            subscription_id=str(raw["subscription_id"]),
            issuer_id=str(raw["issuer_id"]),
            admin_username=str(raw["admin"]["username"]),
            admin_password=Secret(str(raw["admin"]["password"])),
            control_token=Secret(str(raw["control_token"])),
            ports={str(name): int(port) for name, port in raw["ports"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DataDirError(
            f"{path} is damaged",
            hint=f"restore {path} from a copy, or use another directory with --data-dir D",
        ) from exc


def save_config(data_dir: DataDir, config: InstanceConfig) -> None:
    """Write `instance.json`, readable by its owner only."""
    raw = {
        "tenant_id": config.tenant_id,
        "subscription_id": config.subscription_id,
        "issuer_id": config.issuer_id,
        "issuer": config.issuer,
        "admin": {"username": config.admin_username, "password": config.admin_password.reveal()},
        "control_token": config.control_token.reveal(),
        "ports": dict(config.ports),
    }
    write_private(data_dir.path("instance.json"), json.dumps(raw, indent=2).encode() + b"\n")


def save_ports(
    data_dir: DataDir, config: InstanceConfig, ports: Mapping[str, int]
) -> InstanceConfig:
    """Save the ports, so that the next start uses them and exported environments stay valid."""
    if dict(ports) == dict(config.ports):
        return config
    config = replace(config, ports=dict(ports))
    save_config(data_dir, config)
    return config
