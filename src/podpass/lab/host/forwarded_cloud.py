"""A cloud in a cluster, for programs of this machine: their files, and the process that forwards.

Each context has a private folder below `$XDG_STATE_HOME/podpass-cloud`: the CA of the cloud with the public
CAs, a configuration of az in which the administrator is signed in, and the port of the background process.
Nothing is installed system-wide.
"""

import asyncio
import fcntl
import hashlib
import http.client
import logging
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from podpass import log
from podpass.clock import system
from podpass.errors import Error
from podpass.files import create_private_folder, write_private
from podpass.kubernetes.client import BadKubeconfig, EntryNotFound, KubeClient
from podpass.lab.data import azure_config, trust
from podpass.lab.data.datadir import DataDir, default_root
from podpass.lab.data.lock import Lock, lock_holder
from podpass.lab.data.ports import LOOPBACK
from podpass.lab.data.process import has_exited
from podpass.lab.host import host_token
from podpass.lab.install.forwarder import run_forwarder
from podpass.servers.file_limits import raise_file_limit

_log = logging.getLogger(__name__)

_FOLDER = "podpass-cloud"
_MAX_SLUG = 40
_POLL_SECONDS = 0.05
_WATCH_SECONDS = 1.0
# A program may be writing the kubeconfig.
_MISSING_POLLS = 3
_STOP_SECONDS = 10.0
_RESPONSE_SECONDS = 5.0
_BACKLOG = 128
_WRITABLE_BY_OTHERS = 0o022
_MAX_PORT, _PORT_DIGITS = 65535, 5

OpenClient = Callable[[], KubeClient]


class ForwarderFailed(Error):
    """The background process did not start, or did not stop."""

    code = "forwarder_failed"


class FolderNotPrivate(Error):
    """Other users can write to the folder of the context."""

    code = "cloud_folder_not_private"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTarget:
    """The installation that is forwarded: its cluster, its namespace, and how to connect.

    `kubeconfig` is an absolute path, None in a pod. `storage` are the services of storage accounts that the
    cloud serves.
    """

    context: str
    kubeconfig: Path | None
    server: str
    namespace: str
    open_client: OpenClient
    storage: tuple[str, ...] = ()

    def with_facts(self, facts: Mapping[str, Any]) -> "CloudTarget":
        """Return the installation with what its running cloud serves."""
        # The pod of an earlier release has no such fact.
        return replace(self, storage=tuple(facts.get("storage", {}).get("services", ())))


def root(environ: Mapping[str, str]) -> Path:
    """Return the folder of all contexts."""
    return default_root(environ).with_name(_FOLDER)


def locate(target: CloudTarget, environ: Mapping[str, str]) -> DataDir:
    """Return the folder of one installation without accessing the disk.

    A cluster that is created again under its old name has the same folder, also at another address. So its
    environments stay valid, and the commands find the background process of the earlier one.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]", "-", target.context)[:_MAX_SLUG].strip(".-") or "cluster"
    parts = (target.context, str(target.kubeconfig or target.server), target.namespace)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return DataDir(root(environ) / f"{slug}-{digest}")


@contextmanager
def exclusive(data_dir: DataDir) -> Iterator[None]:
    """Let one command at a time change the folder. Raises OSError."""
    _create_folders(data_dir)
    descriptor = os.open(data_dir.path("setup.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_trust(data_dir: DataDir, facts: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Write the CA of the cloud with the public CAs.

    `facts` are those of `podpass cloud control sign-in`. Raises OSError.
    """
    _create_folders(data_dir)
    ca = str(facts["ca"]).encode()
    if not data_dir.ca_file.exists() or data_dir.ca_file.read_bytes() != ca:
        write_private(data_dir.ca_file, ca)
    # A variable that a cloud's folder has set does not name a file of public CAs.
    own = f"{root(environ)}/"
    trust.write_stores(data_dir, {k: v for k, v in environ.items() if not v.startswith(own)})


def write_files(data_dir: DataDir, facts: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Write the CA of the cloud with the public CAs, and sign its administrator in to az.

    As `write_trust`. Raises OSError.
    """
    write_trust(data_dir, facts, environ)
    tenant = data_dir.path("tenant")
    if _read(tenant) != facts["tenant_id"]:
        # A new installation has other users: the sign-in of the earlier one is of no use.
        shutil.rmtree(data_dir.path("azure"), ignore_errors=True)
        write_private(tenant, str(facts["tenant_id"]).encode())
    keys = data_dir.path("published-keys")
    if not set(_read(keys).split()) & set(facts["published_keys"]):
        azure_config.forget_access_tokens(data_dir.path("azure"))
    write_private(keys, "\n".join(facts["published_keys"]).encode())
    azure_config.sign_in_administrator(
        data_dir.path("azure"),
        azure_config.AzAccount(**facts["account"]),
        mint=lambda: str(facts["refresh_token"]),
        works=lambda _token: False,  # after a reset, an earlier token is refused
        clock=system,
    )


def start_companion(
    data_dir: DataDir, target: CloudTarget, folder: Path, others: Sequence[host_token.Work] = ()
) -> int:
    """Forward until the program that replaces this process has ended; return the port.

    `folder` is that of the program, and is deleted then; `others` is work for the same time.
    """
    sock = _listen(0)

    async def forward(runs: host_token.Runs) -> None:
        _prepare_process(data_dir)
        async with _forwarding(target, sock):
            while runs():  # noqa: ASYNC110 another process ends, which sets no event
                await asyncio.sleep(_WATCH_SECONDS)

    async def work(runs: host_token.Runs) -> None:
        await asyncio.gather(*(each(runs) for each in (forward, *others)))

    with sock:
        host_token.start_companion(folder, work, (sock.fileno(),))
        return int(sock.getsockname()[1])


def start_background(data_dir: DataDir, target: CloudTarget) -> tuple[int, int]:
    """Forward in a background process, unless one does; return its process id and its port.

    The caller holds `exclusive`. The port is that of the last time, so that exported environments stay valid.
    A process of a time at which the cloud served other services of storage is replaced.

    Raises ForwarderFailed also if the running one does not respond; OSError.
    """
    port_file = data_dir.path("port")
    port = _read_port(port_file)
    storage_file, storage = data_dir.path("storage"), " ".join(target.storage)
    if _read(storage_file) != storage:
        stop_background(data_dir)
    holder = lock_holder(data_dir.lock_file)
    if holder:
        _check_responds(holder, port)
        return holder, port
    sock = _listen(port)
    write_private(port_file, str(sock.getsockname()[1]).encode())
    write_private(storage_file, storage.encode())
    reading, writing = os.pipe()

    def run() -> None:
        lock = Lock(data_dir.lock_file)
        if lock.acquire():
            _prepare_process(data_dir)
            asyncio.run(forward_until_removed(target, sock, lambda: os.write(writing, b"1")))

    with sock:
        host_token.start_process(run, (sock.fileno(), writing))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            is_started = pipe.read(1) == b"1"
        pid = lock_holder(data_dir.lock_file)
        if not is_started or not pid:
            raise ForwarderFailed(
                "the background process that forwards has exited",
                hint=f"read {data_dir.log_file}, or use `podpass cloud run -- CMD`",
            )
        return pid, int(sock.getsockname()[1])


def stop_background(data_dir: DataDir) -> bool:
    """Stop the background process; return whether there was one. Raises ForwarderFailed."""
    pid = lock_holder(data_dir.lock_file)
    if not pid:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while not has_exited(pid):
        if time.monotonic() > deadline:
            raise ForwarderFailed(
                f"process {pid} does not end", hint=f"end it yourself: kill -KILL {pid}"
            )
        time.sleep(_POLL_SECONDS)
    data_dir.lock_file.unlink(missing_ok=True)
    return True


def _prepare_process(data_dir: DataDir) -> None:
    log.configure(file=data_dir.log_file)
    raise_file_limit()


async def forward_until_removed(
    target: CloudTarget, sock: socket.socket, ready: Callable[[], object]
) -> None:
    """Forward until the kubeconfig has no such context, as after `kind delete cluster`.

    Raises BadKubeconfig at the start.
    """
    missing = 0
    async with _forwarding(target, sock) as client:
        ready()
        while missing < _MISSING_POLLS:
            await asyncio.sleep(_WATCH_SECONDS)
            missing = missing + 1 if _is_removed(client) else 0
        _log.info("context_removed", extra={"context": target.context})


def _is_removed(client: KubeClient) -> bool:
    """Use the current content of the kubeconfig; return whether it has no such context."""
    try:
        client.follow_kubeconfig()
    except EntryNotFound:
        return True
    except BadKubeconfig:
        pass  # a program is writing it
    return False


@asynccontextmanager
async def _forwarding(target: CloudTarget, sock: socket.socket) -> AsyncIterator[KubeClient]:
    async with (
        target.open_client() as client,
        run_forwarder(client, target.namespace, sock, clock=system, storage=target.storage),
    ):
        yield client


def _listen(port: int) -> socket.socket:
    """Listen on a loopback port; on another one if it is taken."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
    except OSError:
        sock.bind((LOOPBACK, 0))
    sock.listen(_BACKLOG)
    return sock


def _check_responds(pid: int, port: int) -> None:
    """Check that the gateway of the background process responds. Raises ForwarderFailed."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_RESPONSE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        if connection.getresponse().status == http.HTTPStatus.OK:
            return
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    raise ForwarderFailed(
        f"process {pid}, which forwards, does not respond on port {port}",
        hint=f"end it: kill -KILL {pid}, then try again",
    )


def _create_folders(data_dir: DataDir) -> None:
    # Create each folder separately: `parents=True` would give a parent the default mode.
    for folder in (data_dir.root.parent, data_dir.root, data_dir.ca_file.parent):
        create_private_folder(folder)
        # Check that no other user can have put files into the folder: programs would trust a CA of that user.
        status = folder.stat()
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            raise FolderNotPrivate(
                f"{folder} belongs to another user, or other users may write to it",
                hint="set XDG_STATE_HOME to a folder that only you can write to, or check the files in it and"
                f" run: chmod 700 {folder}",
            )


def _read_port(path: Path) -> int:
    """Return the port in a file; 0 if there is none, as after a full disk."""
    text = _read(path)
    port = int(text) if text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS else 0
    return port if port <= _MAX_PORT else 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
