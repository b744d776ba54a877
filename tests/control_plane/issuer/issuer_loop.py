"""The whole path of a token of a cluster with its own issuer, from the signer to the token service."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from podpass.assertion.publishing import setup
from podpass.assertion.publishing.config import IssuerConfig
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import RotationWaits, SigningMode
from tests.control_plane import plane
from tests.control_plane.issuer.token_load import TokenLoad
from tests.control_plane.plane import PlaneThread
from tests.ports import free_port
from tests.run_program import run_text
from tests.servers.authority.running import TENANT, TOKEN, Authority

ROOT = Path(__file__).parents[3]
CLIENT_ID = "22222222-aaaa-4bbb-8ccc-000000000001"
# The token service uses cached keys for `CACHE_SECONDS`, and does not fetch again for an unknown key.
CACHE_SECONDS = 2
WORKERS = 2
WAITS = RotationWaits(cache_seconds=CACHE_SECONDS + 1, refresh_seconds=1, token_seconds=600)
SEED = f"""
identities:
  - name: web
    client_id: {CLIENT_ID}
    federated_credentials:
      - {{name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}}
"""
# A rotation in a process of its own, whose clock is ahead; it kills itself at the n-th change of the disk.
ROTATE = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import podpass.clock
ahead, rest = float(sys.argv[1]), int(sys.argv[2])
real = podpass.clock.system
podpass.clock.system = lambda: real() + ahead

from podpass.assertion.publishing import api_servers
read_all = api_servers.read_all
async def read_ahead(*arguments):
    return [replace(keys, time=keys.time + ahead) for keys in await read_all(*arguments)]
api_servers.read_all = read_ahead

def count(event, arguments):
    global rest
    if event in ("os.rename", "os.remove", "os.symlink", "os.mkdir"):
        rest -= 1
        if rest == 0:
            os.kill(os.getpid(), signal.SIGKILL)

from podpass.assertion.publishing import key_folder
key_folder.read_clock = lambda seconds: key_folder.ClockReading(seconds=seconds)
sys.addaudithook(count)
from podpass.cli import main
main(["issuer", "rotate", "-o", "json", *sys.argv[3:]])
"""


@dataclass
class IssuerLoop:
    """The processes of the path; `ahead` is how far the clock of rotations is ahead of the real one."""

    folder: KeyFolder
    plane: PlaneThread
    load: TokenLoad
    socket_path: Path
    ahead: float = 0.0
    signer: subprocess.Popen[bytes] | None = None
    kills: int = 0
    signer_kills: int = 0

    def rotate(self, kill_at: int = 0, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `podpass issuer rotate` once; with `kill_at`, it is killed at that change of the disk."""
        command = [sys.executable, "-c", ROTATE, str(self.ahead), str(kill_at), *arguments]
        done = run_text([*command, "--dir", str(self.folder.root)], cwd=ROOT, timeout=120)
        if done.returncode == -signal.SIGKILL:
            self.kills += 1
        else:
            assert done.returncode == 0, done.stderr
        return done

    def start_signer(self) -> None:
        command = [sys.executable, "-m", "podpass.cli", "issuer", "signer", "--metrics-addr", "0"]
        self.signer = subprocess.Popen(
            [*command, "--dir", str(self.folder.root), "--socket", str(self.socket_path)],
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )

    def stop_signer(self) -> None:
        assert self.signer is not None
        self.signer.terminate()
        self.signer.wait(30)

    def kill_signer(self) -> None:
        """Kill the signer, if there is one, and start the next one at once, as systemd does."""
        if self.signer is None:
            return
        self.signer_kills += 1
        self.signer.kill()
        self.signer.wait()
        self.start_signer()


def wait_for_socket(address: str | tuple[str, int]) -> None:
    """Wait until a server listens."""
    deadline = time.monotonic() + 60
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    while True:
        with socket.socket(family) as sock:
            if sock.connect_ex(address) == 0:
                return
        assert time.monotonic() < deadline, f"{address} does not answer"
        time.sleep(0.02)


@contextmanager
def running(root: Path, signing: SigningMode) -> Iterator[IssuerLoop]:
    """Run the whole path under load."""
    with ExitStack() as stack:
        ca, port = trustme.CA(), free_port()
        issuer = f"https://localhost:{port}/cluster/"
        authority = _authority(stack, root, ca)
        data, folder = root / "data", KeyFolder(root / "keys")
        config = IssuerConfig(
            issuer=issuer,
            target="folder:published",
            signing=signing,
            waits=WAITS,
            kubeconfigs=(data / "admin.kubeconfig",),
        )
        setup.create(folder.root, config, imported=None, bits=2048, now=time.time())
        _serve(stack, authority, folder, port)
        loop = IssuerLoop(
            folder=folder,
            plane=None,  # type: ignore[arg-type]  # set below
            load=None,  # type: ignore[arg-type]
            socket_path=root / "signer.sock",
        )
        loop.plane = stack.enter_context(
            plane.running(data, token_args=_token_args(stack, loop, signing), issuer=issuer)
        )
        asyncio.run(_create_account(loop.plane))
        _seed(authority, issuer)
        authority.start(
            workers=1,
            private_issuer="127.0.0.0/8",
            issuer_ca_file=authority.folder / "ca.pem",
            issuer_fresh_seconds=CACHE_SECONDS,
            issuer_refetch_seconds=1_000_000,
        )
        load = TokenLoad(
            kubeconfig=loop.plane.kubeconfig,
            token_url=authority.facts["service"] + TOKEN,
            client_id=CLIENT_ID,
            ca_file=authority.folder / "ca.pem",
        )
        loop.load = stack.enter_context(load.running(WORKERS))
        yield loop


def _authority(stack: ExitStack, root: Path, ca: trustme.CA) -> Authority:
    folder = root / "authority"
    folder.mkdir()
    authority = Authority(folder=folder, ca=ca)
    authority.write_certificate()
    authority.add_test_data()
    stack.callback(authority.stop, signal.SIGKILL)
    return authority


def _serve(stack: ExitStack, authority: Authority, folder: KeyFolder, port: int) -> None:
    publish = [sys.executable, "-m", "podpass.cli", "issuer", "publish", "--dir", str(folder.root)]
    subprocess.run(publish, check=True, capture_output=True, timeout=60)
    tls = ["--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key"]
    command = [sys.executable, "-m", "podpass.cli", "issuer", "serve", *tls]
    process = subprocess.Popen(
        [*command, "--dir", str(folder.root), "--listen", f"127.0.0.1:{port}"],
        cwd=authority.folder,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    wait_for_socket(("127.0.0.1", port))


def _token_args(stack: ExitStack, loop: IssuerLoop, signing: SigningMode) -> Sequence[str]:
    root = loop.folder.root
    if signing is SigningMode.FILES:
        return [
            f"--service-account-signing-key-file={root / 'signing.key'}",
            f"--service-account-key-file={root / 'verification.pem'}",
        ]
    loop.start_signer()
    stack.callback(loop.stop_signer)
    return [f"--service-account-signing-endpoint={loop.socket_path}"]


async def _create_account(plane_thread: PlaneThread) -> None:
    async with plane_thread.admin() as client:
        path = "/api/v1/namespaces/default/serviceaccounts"
        await client.create(path, {"metadata": {"name": "web"}})


def _seed(authority: Authority, issuer: str) -> None:
    path = authority.folder / "seed.yaml"
    path.write_text(SEED)
    where = ["--database", authority.database, "--tenant-id", TENANT]
    done = authority.command("seed", "-f", str(path), *where, "--cluster-issuer", issuer)
    assert done.returncode == 0, done.stderr
