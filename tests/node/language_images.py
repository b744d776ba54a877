"""Images of each language as a registry would serve them: a program, what runs it, and the public roots.

Nothing in them is podpass's: no CA, no variable, no name. The programs are those of the client matrix, which
runs them as processes.
"""

import _ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients import toolchains
from tests.clients.error_sentences import build_rust
from tests.clients.installation import PROGRAMS, find_tool, run_installation
from tests.node import images
from tests.run_program import run_text

# The programs read `greeting` from it.
VAULT = "journey-vault"
STORAGE_ACCOUNT = "orders"
ROOTS = "/etc/ssl/certs/ca-certificates.crt"
_PROGRAMS = Path(__file__).parent / "language_programs"
_SCOPE = "https://graph.microsoft.com/.default"
_SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
_JAVA_MODULES = "java.se,jdk.unsupported,jdk.crypto.ec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one image contains.

    `files` are paths in the image, and files or folders of this machine; `binaries` need libraries of this
    machine; `layers` are below.
    """

    files: Mapping[str, Path]
    binaries: Sequence[Path] = ()
    layers: Sequence[Path] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program of an image, and what its user sets in the pod.

    With `has_tmp`, /tmp is an empty folder that the program may write; all else is read-only.
    """

    image: str
    command: Sequence[str]
    has_tmp: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


def _python() -> Content:
    python, _ = toolchains.python("azure_identity", toolchains.NEWEST)
    return _python_content(python, {"/app/programs": PROGRAMS / "python"})


def _python_storage() -> Content:
    python, program = toolchains.storage("python")
    return _python_content(python, {"/app/accounts.py": Path(program)})


def _python_content(python: str, programs: Mapping[str, Path]) -> Content:
    (packages,) = Path(python).parents[1].glob("lib/python3.*/site-packages")
    # No image of an application has the installer.
    chosen = [
        each for each in packages.iterdir() if not each.name.startswith(("pip", "setuptools"))
    ]
    return Content(
        files={**programs, **{f"/app/packages/{each.name}": each for each in chosen}},
        layers=[images.client_layer()],
        variables={"PYTHONPATH": "/app/packages"},
    )


def _node() -> Content:
    command = toolchains.node("azure_identity", toolchains.NEWEST)
    return _node_content(command, {"/srv/fetch.mjs": PROGRAMS / "fetch.mjs"})


def _node_storage() -> Content:
    return _node_content(toolchains.storage("node"), {})


def _node_content(command: Sequence[str], more: Mapping[str, Path]) -> Content:
    node, program = (Path(each) for each in command)
    files = {"/usr/local/bin/node": node, "/app": program.parent, **more}
    return Content(files=files, binaries=[node])


def _go() -> Content:
    return Content(files={"/client": toolchains.go_static(toolchains.NEWEST)})


def _java() -> Content:
    java = find_tool("java")
    version = run_text([java, "-version"], check=True)
    link = [find_tool("jlink"), "--add-modules", _JAVA_MODULES, "--output", "runtime"]
    smaller = ("--strip-debug", "--no-header-files", "--no-man-pages")
    runtime = (
        run_installation(
            "java-runtime", [], [*link, *smaller], newest=False, made_with=version.stderr
        )
        / "runtime"
    )
    *_, path, _ = toolchains.java("AzureIdentity", toolchains.NEWEST)
    folder = Path(path.partition(":")[0]).parent
    files = {"/opt/java": runtime, "/app/classes": folder / "classes", "/app/lib": folder / "lib"}
    binaries = [runtime / "bin" / "java", *(runtime / "lib").rglob("*.so")]
    return Content(files=files, binaries=binaries)


def _dotnet() -> Content:
    program = Path(toolchains.azmcp()[-1])
    # .NET opens OpenSSL's libraries by name when it needs them.
    tls = _find_libraries([Path(_ssl.__file__)])
    files = {path: file for path, file in tls.items() if "libssl" in path or "libcrypto" in path}
    # Microsoft's small images have no ICU and set this variable.
    variables = {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "true"}
    return Content(files={"/app": program.parent, **files}, binaries=[program], variables=variables)


def _rust() -> Content:
    program = Path(build_rust()[0])
    return Content(files={"/client": program}, binaries=[program])


def _curl() -> Content:
    found = {name: Path(find_tool(name)).resolve() for name in ("sh", "curl", "sed", "sleep")}
    files = {f"/bin/{name}": path for name, path in found.items()}
    return Content(
        files=files | {"/app/secret.sh": _PROGRAMS / "secret.sh"}, binaries=[*found.values()]
    )


def _musl() -> Content:
    compiler = [find_tool("musl-gcc"), "-static", "-O2", "-o", "resolve", "resolve.c"]
    folder = run_installation("musl", [_PROGRAMS / "resolve.c"], compiler, newest=False)
    return Content(files={"/resolve": folder / "resolve"})


IMAGES: dict[str, Callable[[], Content]] = {
    "python": _python,
    "node": _node,
    "go": _go,
    "java": _java,
    "dotnet": _dotnet,
    "rust": _rust,
    "curl": _curl,
    "musl": _musl,
    "python-storage": _python_storage,
    "node-storage": _node_storage,
}

CLIENTS = {
    "python": Client(
        image="python", command=["python", "/app/programs/azure_identity.py", "workload", _SCOPE]
    ),
    "python-aio": Client(
        image="python",
        command=["python", "/app/programs/azure_identity.py", "aio-workload", _SCOPE],
    ),
    "node": Client(image="node", command=["node", "/app/azure_identity.cjs", "workload", _SCOPE]),
    "node-fetch": Client(image="node", command=["node", "/srv/fetch.mjs", VAULT]),
    "go": Client(image="go", command=["/client", "identity", "workload", _SCOPE]),
    "java": Client(
        image="java",
        command=[
            *("/opt/java/bin/java", "-XX:TieredStopAtLevel=1", "-cp", "/app/classes:/app/lib/*"),
            *("AzureIdentity", "workload", _SCOPE),
        ],
    ),
    "dotnet": Client(
        image="dotnet",
        command=[
            *("/app/azmcp", "keyvault", "secret", "get", "--vault", VAULT),
            *("--secret", "greeting", "--subscription", _SUBSCRIPTION),
        ],
        # .NET unpacks the native libraries of a single file before it starts.
        has_tmp=True,
        variables={
            "AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential",
            "AZURE_MCP_COLLECT_TELEMETRY": "false",
            "DOTNET_BUNDLE_EXTRACT_BASE_DIR": "/tmp",
        },
    ),
    "rust": Client(
        image="rust",
        command=["/client"],
        variables={"VAULT_URL": f"https://{VAULT}.vault.azure.net/"},
    ),
    "curl": Client(image="curl", command=["sh", "/app/secret.sh"]),
}


# They write and read a blob of the account, and print its content, or the refusal.
STORAGE_CLIENTS = {
    "python": Client(
        image="python-storage", command=["python", "/app/accounts.py", "blob", STORAGE_ACCOUNT]
    ),
    "node": Client(image="node-storage", command=["node", "/app/accounts.cjs", STORAGE_ACCOUNT]),
}


def build_all() -> None:
    """Install and build the programs of all images; say which are not available."""
    for language, content in IMAGES.items():
        try:
            content()
        except pytest.skip.Exception as exc:
            print(f"SKIPPED: the image of {language}: {exc}", file=sys.stderr)


def write_image(language: str, folder: Path) -> tuple[str, Path]:
    """Write the archive of a language's image into a folder; return the name of the image and the file."""
    content = IMAGES[language]()
    roots = {ROOTS: Path(ROOTS).resolve()}
    layer = images.file_layer(
        folder / f"{language}.layer",
        {**roots, **_find_libraries(content.binaries), **content.files},
    )
    image = images.Image(
        name=f"registry.example/{language}:1",
        layers=[*content.layers, layer],
        variables={"PATH": "/usr/local/bin:/usr/bin:/bin", **content.variables},
    )
    archive = images.write_archive(image, folder / f"{language}.tar")
    layer.unlink()
    return image.name, archive


def _find_libraries(binaries: Sequence[Path]) -> dict[str, Path]:
    """Return the machine's libraries that programs load; a program's own folder has the others."""
    return {
        path: file
        for path, file in images.find_libraries(binaries).items()
        if path.startswith(("/lib", "/usr/lib"))
    }
