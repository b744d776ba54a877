"""Clients trust the cloud and the public roots with what the trust webhook gives a container.

Each program runs as a process with exactly the variables that the webhook gives, and the files of the bundle.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.http.server import bind, respond, server_context, serving
from podpass.lab.names import bundles
from podpass.lab.names.injection import BundleNames, build_variables
from tests.clients import toolchains
from tests.clients.catalogue import CLIENTS, GRAPH, ClientPackage
from tests.clients.error_sentences import build_rust
from tests.clients.installation import PROGRAMS, find_tool, install_python, run_installation
from tests.clients.program_output import parse_output
from tests.clients.toolchains import JAVA_OPTIONS, NEWEST
from tests.control_plane.background_loop import BackgroundLoop
from tests.journey.instance import CLIENT, Instance
from tests.run_program import run_text

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

_TRUST = PROGRAMS / "trust"
OWN, PUBLIC, UNKNOWN = (trustme.CA(organization_name=name) for name in ("own", "public", "other"))
SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")


def _python(library: str) -> list[str]:
    if library == "urllib":
        return [sys.executable, str(_TRUST / "python_clients.py"), library]
    return [
        *install_python("requests", "httpx", "aiohttp"),
        str(_TRUST / "python_clients.py"),
        library,
    ]


def _go() -> list[str]:
    build = [find_tool("go"), "build", "-o", "client", "."]
    files = [_TRUST / "go.mod", _TRUST / "main.go"]
    return [str(run_installation("go-trust", files, build, newest=False) / "client")]


def _java() -> list[str]:
    build = [find_tool("javac"), "--release", "11", "Trust.java"]
    folder = run_installation("java-trust", [_TRUST / "Trust.java"], build, newest=False)
    return [find_tool("java"), *JAVA_OPTIONS, "-cp", str(folder), "Trust"]


def _java_native() -> list[str]:
    *_, path, _ = toolchains.java("AzureIdentity", NEWEST)
    libraries = Path(path.partition(":")[0]).with_name("lib")
    build = [find_tool("javac"), "--release", "11", "-cp", f"{libraries}/*", "NativeTls.java"]
    sources = [_TRUST / "NativeTls.java"]
    folder = run_installation("java-native-trust", sources, build, newest=False)
    path = f"{folder}:{libraries}/*"
    return [find_tool("java"), *JAVA_OPTIONS, "-cp", path, "NativeTls"]


def _shell(program: str) -> list[str]:
    find_tool(program)
    return ["sh", str(_TRUST / "curl.sh"), program]


PLAIN: dict[str, Callable[[], list[str]]] = {
    "python-requests": lambda: _python("requests"),
    "python-httpx": lambda: _python("httpx"),
    "python-aiohttp": lambda: _python("aiohttp"),
    "python-urllib": lambda: _python("urllib"),
    "node-fetch": lambda: [find_tool("node"), str(_TRUST / "fetch.mjs")],
    "go": _go,
    "java": _java,
    "java-netty-native": _java_native,
    "curl": lambda: _shell("curl"),
    "git": lambda: _shell("git"),
}


def _write_bundle(folder: Path, public: bytes, ca: bytes) -> dict[str, str]:
    """Write the files of a bundle; return the variables that name them."""
    for name, content in bundles.build(public, ca).items():
        (folder / name).write_bytes(content)
    return build_variables(BundleNames(mount_path=str(folder)))


async def _app(_scope: Any, _receive: Any, send: Any) -> None:
    await respond(send, 404, b"{}")


@pytest.fixture(scope="module")
def urls() -> Iterator[list[str]]:
    """Serve TLS with certificates of the cloud's CA, of a public root, and of a CA in no bundle."""

    async def start(stack: AsyncExitStack) -> list[str]:
        found = []
        for authority in (OWN, PUBLIC, UNKNOWN):
            tls = server_context()
            authority.issue_cert("localhost").configure_cert(tls)
            sock = bind("127.0.0.1", 0)
            await stack.enter_async_context(serving(_app, sock, tls))
            found.append(f"https://localhost:{sock.getsockname()[1]}/")
        return found

    loop, stack = BackgroundLoop(), AsyncExitStack()
    try:
        yield loop.run(start(stack))
    finally:
        loop.run(stack.aclose())
        loop.close()


def _run(command: list[str], environ: dict[str, str], folder: Path) -> str:
    base = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = run_text(command, env={**base, **environ}, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("client", PLAIN)
def test_client_with_the_bundle_trusts_only_the_cloud_and_public_roots(
    client: str, urls: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "trust"
    folder.mkdir()
    variables = _write_bundle(folder, PUBLIC.cert_pem.bytes(), OWN.cert_pem.bytes())
    printed = _run([*PLAIN[client](), *urls], variables, tmp_path)
    # Node adds the bundle to roots of its own, which this test cannot replace by a CA of the test.
    public = "refused" if client == "node-fetch" else "trusted"
    assert printed.split() == ["trusted", public, "refused"]


@pytest.mark.parametrize("client", PLAIN)
def test_client_without_the_variables_trusts_no_ca_of_the_bundle(
    client: str, urls: list[str], tmp_path: Path
) -> None:
    assert _run([*PLAIN[client](), *urls], {}, tmp_path).split() == ["refused"] * 3


def test_node_with_the_bundle_still_trusts_its_built_in_roots(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    folder.mkdir()
    variables = _write_bundle(folder, PUBLIC.cert_pem.bytes(), OWN.cert_pem.bytes())
    script = (
        "const tls = require('tls'); const found = tls.getCACertificates"
        " ? tls.getCACertificates('default').length - tls.getCACertificates('extra').length"
        " : tls.rootCertificates.length; console.log(found > 100)"
    )
    assert _run([find_tool("node"), "-e", script], variables, tmp_path) == "true\n"


@pytest.mark.parametrize("options", [[], ["-storepass", "changeit"], ["-storepass", "other12"]])
@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_keytool_reads_the_trust_store_with_any_password(
    kind: str, options: list[str], tmp_path: Path
) -> None:
    _write_bundle(tmp_path, PUBLIC.cert_pem.bytes(), OWN.cert_pem.bytes())
    command = [find_tool("keytool"), "-list", "-storetype", kind, "-keystore", bundles.TRUST_STORE]
    listed = subprocess.run(
        [*command, *options],
        cwd=tmp_path,
        input=b"\n",
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert b"contains 2 entries" in listed.stdout, listed
    assert listed.stdout.count(b"trustedCertEntry") == 2


SDKS = [
    each
    for each in CLIENTS
    if each.age == NEWEST and ("workload" in each.styles or each.language == "Rust")
]


def _prepare_sdk(instance: Instance, folder: Path) -> dict[str, str]:
    """Return the variables of a container, and those with which a process reaches the instance."""
    trust = folder / "trust"
    trust.mkdir()
    if not SYSTEM.exists():
        pytest.skip("the system has no bundle of public roots")
    own = Path(instance.status["ca_file"]).read_bytes()
    (folder / "token").write_text(instance.token("web"))
    gateway = instance.status["gateway"]
    port = gateway.rpartition(":")[2]
    return {
        **_write_bundle(trust, SYSTEM.read_bytes(), own),
        "HTTPS_PROXY": gateway,
        "NO_PROXY": "localhost,127.0.0.1",
        # Java reads no proxy variables; these options are apart from those of the patch.
        "JDK_JAVA_OPTIONS": f"-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={port}",
        "AZURE_TENANT_ID": instance.status["tenant_id"],
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token"),
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
    }


@pytest.mark.parametrize("client", SDKS, ids=[each.name for each in SDKS])
def test_sdk_reads_a_secret_with_the_variables_of_the_patch(
    client: ClientPackage, instance: Instance, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The names reach the instance through its gateway; the trust is that of a container."""
    environ = _prepare_sdk(instance, tmp_path)
    host = [request.getfixturevalue("storage")] if client.storage else []
    style = "workload" if "workload" in client.styles else client.styles[-1]
    printed = _run([*client.command(), *host, style, f"{GRAPH}/.default"], environ, tmp_path)
    expected = client.expected_output
    assert {name: parse_output(printed).get(name) for name in expected} == dict(expected)


def test_microsofts_sdk_for_rust_reads_a_secret_with_the_variables_of_the_patch(
    instance: Instance, tmp_path: Path
) -> None:
    vault = {"VAULT_URL": "https://journey-vault.vault.azure.net/"}
    printed = _run(build_rust(), _prepare_sdk(instance, tmp_path) | vault, tmp_path)
    assert parse_output(printed) == {"secret": "hello"}
