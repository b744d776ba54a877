"""`Cluster`: an API server with controllers and one node, for a test or for a command."""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from kubeling.api import Api, ApiError
from kubeling.apiserver.release import find_name
from kubeling.apiserver.request import UserInfo
from kubeling.apiserver.storage.storage import Snapshot, is_of_node
from kubeling.certificates import CertificateFiles, open_certificates
from kubeling.clock import Clock, system
from kubeling.cluster import ClusterConfig, EmbeddedCluster
from kubeling.errors import Error
from kubeling.files import create_private_folder, write_private
from kubeling.service_account.signer import RsaSigner, TokenSigner

if TYPE_CHECKING:
    from kubeling.kubelet.images import ImageSource


_CONTEXT = "kubeling"


def render_kubeconfig(server: str, ca_pem: bytes, token: str) -> str:
    """Return a kubeconfig with a bearer token; the caller writes it to a private file."""
    # A JSON string is also a YAML string.
    return f"""\
apiVersion: v1
kind: Config
current-context: {_CONTEXT}
clusters:
- name: {_CONTEXT}
  cluster:
    server: {json.dumps(server)}
    certificate-authority-data: {base64.b64encode(ca_pem).decode()}
users:
- name: {_CONTEXT}
  user:
    token: {json.dumps(token)}
contexts:
- name: {_CONTEXT}
  context:
    cluster: {_CONTEXT}
    user: {_CONTEXT}
    namespace: default
preferences: {{}}
"""


NODE_NAME = "kubeling"
LOCK_FILE = "lock"
_TEMPORARY_PREFIX = "kubeling-"
_TEMPORARY_NAME = re.compile(_TEMPORARY_PREFIX + "[a-z0-9_]{8}")
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_ADMIN = UserInfo(name="kubernetes-admin", groups=("system:masters",))
# The node also schedules pods. Its user name limits the tokens that it may request; see NodeRestriction.
_NODE = UserInfo(
    name=f"system:node:{NODE_NAME}",
    groups=("system:nodes", "system:masters", "system:authenticated"),
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = "127.0.0.1,localhost"

Result = TypeVar("Result")


class NotStarted(Error):
    """A cluster is used before its start or after its end."""

    code = "not_started"
    hint = "use it inside `with kubeling.Cluster() as cluster:`"


class FolderInUse(Error):
    """Another process runs a cluster in a folder."""

    code = "folder_in_use"


class InvalidIssuer(Error):
    """The issuer of ServiceAccount tokens is not an https URL."""

    code = "invalid_issuer"
    hint = "use an https URL, such as https://east.example: OpenID Connect requires it"


class PortInUse(Error):
    """The port of the API server is not free."""

    code = "port_in_use"
    hint = "choose another port, or port 0 for a free one"


@dataclass(slots=True)
class ClusterSnapshot:
    """The objects of a cluster at one time, for `Cluster.reset`."""

    objects: Snapshot = field(repr=False)


class Cluster:
    """A cluster that runs during a `with` block, in a thread, or during an `async with` block.

    A `folder` keeps the objects for the next start; the default is a temporary folder, which is deleted.
    With `temporary`, a given folder is deleted, too. Without `node`, pods stay pending. Without
    `controllers`, no controller of kube-controller-manager runs; without both, it is like one of envtest.

    `images` maps images to commands, each a list or a text as in a shell; or it is an image source. `tokens`
    maps more bearer tokens to their users. `environment` has default variables of containers. `issuer` is
    the issuer of ServiceAccount tokens.

    Attributes are available inside the block. Every method can be called from any thread.

    Raises:
        FolderInUse, PortInUse, InvalidIssuer, DamagedFile, UnknownRelease
    """

    def __init__(
        self,
        folder: "str | os.PathLike[str] | None" = None,
        *,
        port: int = 0,
        temporary: bool = False,
        node: bool = True,
        controllers: bool = True,
        release: str | None = None,
        images: "ImageSource | Mapping[str, Sequence[str]] | None" = None,
        tokens: Mapping[str, UserInfo] | None = None,
        environment: Mapping[str, str] | None = None,
        signer: TokenSigner | None = None,
        issuer: str | None = None,
        clock: Clock = system,
    ) -> None:
        self._given_folder, self._port, self._has_node = folder, port, node
        self._has_controllers = controllers
        self._is_temporary = temporary
        self._release, self._images, self._tokens = release, images, dict(tokens or {})
        self._environment, self._clock = dict(environment or {}), clock
        self._signer, self._issuer = signer, issuer or _ISSUER
        if not self._issuer.startswith("https://"):
            raise InvalidIssuer(f"the issuer {issuer!r} is not an https URL")
        self._environ = os.environ  # noqa: TID251 the programs of containers are found on PATH
        self._stack = AsyncExitStack()
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None
        self._running: _Running | None = None

    # ------------------------------------------------------------------------------------- start, end

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        try:
            self._running = await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = None
        await self._stack.aclose()

    def __enter__(self) -> Self:
        from kubeling.kubelet.process import handle_ignored_signals

        handle_ignored_signals()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="kubeling", daemon=True
        )
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        thread, stop, running = self._thread, self._stop, self._running
        if thread is None:
            return
        if running is not None and stop is not None:
            running.loop.call_soon_threadsafe(stop.set)
        thread.join()
        self._thread = None

    async def _run(self, started: "Future[None]") -> None:
        """Run in the thread of a `with` block until its end."""
        self._stop = asyncio.Event()
        try:
            async with self:
                started.set_result(None)
                await self._stop.wait()
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    async def _start(self) -> "_Running":
        from kubeling.server import listen, serving

        folder = self._open_folder()
        files = open_certificates(folder)
        try:
            sock = listen(self._port)
        except OSError as exc:
            raise PortInUse(f"cannot listen on port {self._port}: {exc.strerror}") from exc
        self._stack.callback(sock.close)
        server = "https://{}:{}".format(*sock.getsockname()[:2])
        key_file = folder / "service-account.key"
        signer = self._signer or RsaSigner(key_file)
        token = secrets.token_urlsafe(24)
        options: dict[str, Any] = (
            {} if self._release is None else {"release": find_name(self._release)}
        )
        config = ClusterConfig(
            database=None if self._given_folder is None else folder / "kubernetes.db",
            issuer=self._issuer,
            jwks_uri=f"{server}/openid/v1/jwks",
            signer=signer,
            ca_file=files.ca,
            tokens={**self._tokens, token: _ADMIN},
            audiences=(self._issuer,),
            clock=self._clock,
            controllers=self._has_controllers,
            **options,
        )
        enter = self._stack.enter_async_context
        embedded = await enter(EmbeddedCluster(config))
        try:
            # Both start at the same time: the node waits for programs, and the server imports modules.
            async with asyncio.TaskGroup() as tasks:
                if self._has_node:
                    tasks.create_task(self._start_node(embedded, folder, files, server))
                if isinstance(signer, RsaSigner) and key_file.exists():
                    # A damaged key must not be found by the first pod.
                    tasks.create_task(asyncio.to_thread(signer.prepare))
                await enter(serving(embedded.app, sock, files.certificate, files.key))
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        self._stack.callback(embedded.drain)
        if self._has_node and isinstance(signer, RsaSigner):
            # The first pod needs the key; its creation takes a tenth of a second.
            preparing = asyncio.get_running_loop().run_in_executor(None, signer.prepare)
            self._stack.push_async_callback(asyncio.wait, [preparing])
        file = folder / "kubeconfig"
        write_private(file, render_kubeconfig(server, files.ca.read_bytes(), token).encode())
        return _Running(
            loop=asyncio.get_running_loop(),
            thread_id=threading.get_ident(),
            embedded=embedded,
            admin=embedded.api(_ADMIN, server),
            server=server,
            token=token,
            kubeconfig=file,
            ca_file=files.ca,
            baseline=ClusterSnapshot(embedded.store.snapshot()),
        )

    def _open_folder(self) -> Path:
        if self._given_folder is None:
            parent = Path(tempfile.gettempdir())
            deleting = asyncio.get_running_loop().run_in_executor(None, _delete_abandoned, parent)
            self._stack.push_async_callback(asyncio.wait, [deleting])
            folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._stack.callback(os.close, _lock_temporary(folder))
            return folder
        folder = Path(self._given_folder).absolute()
        create_private_folder(folder)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            hint = (
                f"use another folder, or end the other cluster: kubeling down --data-dir {folder}"
            )
            raise FolderInUse(f"a cluster runs in {folder}", hint=hint) from exc
        if self._is_temporary:
            self._stack.callback(_delete, folder)
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        return folder

    async def _start_node(
        self, embedded: EmbeddedCluster, folder: Path, files: CertificateFiles, server: str
    ) -> None:
        from kubeling.kubelet.images import LocalImages
        from kubeling.kubelet.kubelet import Kubelet, KubeletConfig

        given = self._images
        if isinstance(given, Mapping):
            given = {
                image: shlex.split(command) if isinstance(command, str) else command
                for image, command in given.items()
            }
        images = LocalImages(given) if given is None or isinstance(given, Mapping) else given
        kubelet = Kubelet(
            KubeletConfig(
                node_name=NODE_NAME,
                folder=folder / "pods",
                images=images,
                environment=lambda _own_addresses: self._environment,
                path=self._environ.get("PATH", os.defpath),
                hidden=folder,
                own_networks=True,
                shown=[files.ca],
                clock=self._clock,
            ),
            embedded.api(_NODE, server),
        )
        embedded.kubelets[NODE_NAME] = kubelet.app
        await self._stack.enter_async_context(kubelet)

    # ---------------------------------------------------------------------------------------- clients

    @property
    def server(self) -> str:
        """Return the URL of the API server."""
        return self._open().server

    @property
    def token(self) -> str:
        """Return the bearer token of an administrator."""
        return self._open().token

    @property
    def ca_file(self) -> Path:
        """Return the file with the CA of the API server."""
        return self._open().ca_file

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig of an administrator; the file names no other file."""
        return self._open().kubeconfig

    @property
    def api(self) -> Api:
        """Return the API of an administrator, for the event loop of the cluster only."""
        return self._open().admin

    def env(self) -> dict[str, str]:
        """Return the variables with which a program uses this cluster."""
        values = {"KUBECONFIG": str(self.kubeconfig)}
        environ = self._environ
        if any(environ.get(name) for name in _PROXIES):
            # Python's clients would send requests for loopback addresses to the proxy.
            for name in ("NO_PROXY", "no_proxy"):
                before = environ.get(name, "")
                values[name] = f"{before},{_LOOPBACK}" if before else _LOOPBACK
        return values

    # ------------------------------------------------------------------------------------------ state

    def snapshot(self) -> ClusterSnapshot:
        """Return the current objects, for `reset`."""
        return self._call(lambda running: ClusterSnapshot(running.embedded.store.snapshot()))

    def reset(self, to: ClusterSnapshot | None = None) -> None:
        """Restore the objects of a snapshot; the default is the time of the start.

        Watches get an event for each change. The containers of deleted pods are killed after the return.
        """

        def restore(running: "_Running") -> None:
            snapshot, store = to or running.baseline, running.embedded.store
            store.restore(snapshot.objects, partial(is_of_node, snapshot.objects, NODE_NAME))
            # Restored objects have new revisions.
            snapshot.objects = store.snapshot()

        self._call(restore)

    def namespace(self, prefix: str = "test") -> str:
        """Create a namespace with a new name and its default ServiceAccount; return the name."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self._call(lambda running: running.embedded.create_namespace(name))
        return name

    def delete_namespace(self, name: str) -> None:
        """Request the deletion of a namespace; its objects disappear after the return."""

        async def delete(running: "_Running") -> None:
            try:
                await running.admin.delete(f"/api/v1/namespaces/{name}")
            except ApiError as exc:
                if exc.status != 404:
                    raise

        running = self._open()
        self._wait(delete(running))

    # -------------------------------------------------------------------------------------- internals

    def _open(self) -> "_Running":
        if self._running is None:
            raise NotStarted("the cluster is not started")
        return self._running

    def _call(self, function: "Callable[[_Running], Result]") -> Result:
        """Call a function in the event loop of the cluster."""
        running = self._open()
        if threading.get_ident() == running.thread_id:
            return function(running)
        done: Future[Result] = Future()

        def call() -> None:
            try:
                done.set_result(function(running))
            except Exception as exc:  # noqa: BLE001 the caller gets it
                done.set_exception(exc)

        running.loop.call_soon_threadsafe(call)
        return done.result()

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the event loop of the cluster; another thread waits until it has ended."""
        running = self._open()
        if threading.get_ident() == running.thread_id:
            task = running.loop.create_task(work)
            running.tasks.add(task)
            task.add_done_callback(running.tasks.discard)
        else:
            asyncio.run_coroutine_threadsafe(work, running.loop).result()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """The parts of a cluster between start and end."""

    loop: asyncio.AbstractEventLoop
    thread_id: int
    embedded: EmbeddedCluster
    admin: Api
    server: str
    token: str
    kubeconfig: Path
    ca_file: Path
    baseline: ClusterSnapshot
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set)


def _delete(folder: Path) -> None:
    """Delete a folder. Its name is free at once: the next cluster in it loses no file to a slow deletion."""
    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    with contextlib.suppress(OSError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _lock_temporary(folder: Path) -> int:
    """Create the lock of a temporary folder; return its descriptor.

    The file has its name only when it is locked: `_delete_abandoned` deletes a folder with a free lock.
    """
    part = folder / f".{LOCK_FILE}"
    lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    part.rename(folder / LOCK_FILE)
    return lock


def _delete_abandoned(parent: Path) -> None:
    """Delete the temporary folders of clusters that were killed."""
    for folder in parent.iterdir():
        if _TEMPORARY_NAME.fullmatch(folder.name):
            with contextlib.suppress(OSError):
                _delete_if_abandoned(folder)


def _delete_if_abandoned(folder: Path) -> None:
    """Delete a folder of this user whose lock no process has.

    Other programs and other users may create the same names: a link could lead to any folder.

    Raises:
        OSError: it has no lock, or it is in use.
    """
    found = folder.lstat()
    if found.st_uid != os.geteuid() or found.st_mode != stat.S_IFDIR | 0o700:
        return
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
