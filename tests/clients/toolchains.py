"""Installs, builds and starts the programs of each language.

Every function returns the beginning of a command line; an age is `oldest`, `newest` or `before`: the last
release before workload identity.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clients.installation import PROGRAMS, find_tool, python_commands, run_installation
from tests.run_program import run_text

OLDEST, NEWEST, BEFORE = "oldest", "newest", "before"
# The programs are short: the second compiler and threads that collect garbage take more time than they save.
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def python(program: str, age: str, requirements: str = "") -> list[str]:
    """Return a Python with exactly these requirements, and the program."""
    listed = PROGRAMS / "python" / f"{requirements}{age}.txt"
    commands = python_commands("-r", listed.name)
    folder = run_installation(
        f"python-{requirements}{age}", [listed], *commands, newest=age == NEWEST
    )
    return [str(folder / "bin" / "python"), str(PROGRAMS / "python" / f"{program}.py")]


def node(program: str, age: str) -> list[str]:
    """Return Node and the program, which is copied next to its packages."""
    programs = sorted((PROGRAMS / "node").glob("*.cjs"))
    folder = npm(f"node-{age}", [PROGRAMS / "node" / age / "package.json", *programs], age)
    return [find_tool("node"), str(folder / f"{program}.cjs")]


def npm(name: str, files: list[Path], age: str) -> Path:
    """Install the packages of a package.json; return the folder."""
    install = [find_tool("npm"), "install", "--no-audit", "--no-fund", "--loglevel=error"]
    return run_installation(name, files, install, newest=age == NEWEST)


def java(program: str, age: str) -> list[str]:
    """Return Java and the compiled program with Maven's class path."""
    sources = sorted((PROGRAMS / "java").glob("*.java"))
    if age == BEFORE:
        # The other programs use classes that this release does not have.
        sources = [each for each in sources if each.stem in (program, "Answer")]
    maven = [find_tool("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    compiler = [find_tool("javac"), "--release", "11", "-d", "classes", "-cp", "lib/*"]
    folder = run_installation(
        f"java-{age}",
        [PROGRAMS / "java" / age / "pom.xml", *sources],
        maven,
        [*compiler, *(source.name for source in sources)],
        newest=False,
    )
    path = f"{folder}/classes:{folder}/lib/*"
    return [find_tool("java"), *JAVA_OPTIONS, "-cp", path, program]


def go(program: str, age: str) -> list[str]:
    """Return a binary, `client` or `rotation`, built with the modules that go.mod and go.sum pin."""
    pinned = [PROGRAMS / "go" / age / name for name in ("go.mod", "go.sum")]
    compiler = find_tool("go")
    version = run_text([compiler, "version"], check=True)
    folder = run_installation(
        f"go-{age}",
        [*pinned, *sorted((PROGRAMS / "go").glob("*.go"))],
        [compiler, "build", "-mod=readonly", "-o", "client", "."],
        [compiler, "test", "-mod=readonly", "-c", "-o", "rotation", "."],
        newest=False,
        made_with=version.stdout,
    )
    return [str(folder / program)]


def _go_client(name: str, files: Sequence[Path]) -> str:
    """Return the binary of a module with one program, built as its go.mod and go.sum pin it."""
    compiler = find_tool("go")
    version = run_text([compiler, "version"], check=True)
    build = [compiler, "build", "-mod=readonly", "-o", "client", "."]
    folder = run_installation(name, files, build, newest=False, made_with=version.stdout)
    return str(folder / "client")


def go_static(age: str) -> Path:
    """Return the binary `client` without a C library, for an image without any."""
    programs = PROGRAMS / "go"
    pinned = [programs / age / name for name in ("go.mod", "go.sum")]
    sources = [each for each in sorted(programs.glob("*.go")) if "_test" not in each.stem]
    compiler = find_tool("go")
    version = run_text([compiler, "version"], check=True)
    build = [compiler, "build", "-mod=readonly", "-ldflags=-s -w", "-o", "client", "."]
    folder = run_installation(
        f"go-static-{age}",
        [*pinned, *sources],
        ["env", "CGO_ENABLED=0", *build],
        newest=False,
        made_with=version.stdout,
    )
    return folder / "client"


def go_managed(age: str) -> list[str]:
    """Return the binary that uses the managed identity credentials."""
    programs = PROGRAMS / "go" / "managed"
    return [
        _go_client(
            f"go-managed-{age}",
            [programs / age / "go.mod", programs / age / "go.sum", programs / "main.go"],
        )
    ]


def azmcp() -> list[str]:
    """Return the program that drives azmcp, the npm package that contains .NET's identity library."""
    folder = npm("dotnet", [PROGRAMS / "dotnet" / "package.json"], NEWEST)
    found = sorted(folder.glob("node_modules/@azure/mcp-*/dist/azmcp"))
    assert found, "@azure/mcp has no executable for this machine"
    return [sys.executable, str(PROGRAMS / "python" / "mcp.py"), str(found[0])]


def azurite(program: str = "azurite-blob") -> list[str]:
    """Return the command of Azure's emulator of storage; `azurite` also serves queues and tables."""
    folder = npm("azurite", [PROGRAMS / "azurite" / "package.json"], NEWEST)
    return [find_tool("node"), str(folder / "node_modules" / ".bin" / program)]


def storage(language: str) -> list[str]:
    """Return the program that uses a storage account, in Python, Node or Go."""
    programs = PROGRAMS / "storage"
    if language == "python":
        commands = python_commands("-r", "python.txt")
        listed = [programs / "python.txt"]
        folder = run_installation("storage-python", listed, *commands, newest=True)
        return [str(folder / "bin" / "python"), str(programs / "accounts.py")]
    if language == "node":
        files = [programs / "package.json", programs / "accounts.cjs"]
        return [find_tool("node"), str(npm("storage-node", files, NEWEST) / "accounts.cjs")]
    return [
        _go_client("storage-go", [programs / name for name in ("go.mod", "go.sum", "accounts.go")])
    ]


def pipelines(language: str) -> list[str]:
    """Return the program that is a job of a pipeline, in Python, Node, Java or Go."""
    programs = PROGRAMS / "pipelines"
    if language == "python":
        *interpreter, _ = python("azure_identity", NEWEST)
        return [*interpreter, str(programs / "pipelines.py")]
    if language == "node":
        files = [programs / "package.json", programs / "pipelines.cjs"]
        return [find_tool("node"), str(npm("node-pipelines", files, NEWEST) / "pipelines.cjs")]
    if language == "java":
        *_, path, _ = java("AzureIdentity", NEWEST)
        libraries = Path(path.partition(":")[0]).with_name("lib")
        build = [find_tool("javac"), "--release", "11", "-cp", f"{libraries}/*", "Pipelines.java"]
        sources = [programs / "Pipelines.java"]
        folder = run_installation("java-pipelines", sources, build, newest=False)
        return [find_tool("java"), *JAVA_OPTIONS, "-cp", f"{folder}:{libraries}/*", "Pipelines"]
    client = _go_client(
        "go-pipelines", [programs / name for name in ("go.mod", "go.sum", "main.go")]
    )
    return [client, language]


def keys(language: str) -> list[str]:
    """Return the program that uses keys of a vault, in Python (`oldest` or `newest`), Node, Java or Go."""
    return _vault_program("keys", language)


def certificates(language: str) -> list[str]:
    """Return the program that uses certificates of a vault, in the languages of `keys`."""
    return _vault_program("certificates", language)


def _vault_program(kind: str, language: str) -> list[str]:
    programs = PROGRAMS / kind
    if language in (OLDEST, NEWEST):
        listed = programs / f"python-{language}.txt"
        commands = python_commands("-r", listed.name)
        folder = run_installation(
            f"{kind}-{language}", [listed], *commands, newest=language == NEWEST
        )
        return [str(folder / "bin" / "python"), str(programs / f"{kind}.py")]
    if language == "node":
        files = [programs / "package.json", programs / f"{kind}.cjs"]
        return [find_tool("node"), str(npm(f"{kind}-node", files, NEWEST) / f"{kind}.cjs")]
    if language == "java":
        maven = [
            find_tool("mvn"),
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DoutputDirectory=lib",
        ]
        javac = [find_tool("javac"), "--release", "11", "-d", "classes", "-cp", "lib/*"]
        name = kind.capitalize()
        folder = run_installation(
            f"{kind}-java",
            [programs / "pom.xml", programs / f"{name}.java"],
            maven,
            [*javac, f"{name}.java"],
            newest=False,
        )
        path = f"{folder}/classes:{folder}/lib/*"
        return [find_tool("java"), *JAVA_OPTIONS, "-cp", path, name]
    files = [programs / name for name in ("go.mod", "go.sum", f"{kind}.go")]
    return [_go_client(f"{kind}-go", files)]


def clock() -> Path:
    """Return the library that changes the time of a program when it is preloaded."""
    if sys.platform != "linux":
        pytest.skip("changing the time of a program needs LD_PRELOAD of Linux")
    compiler = [find_tool("cc"), "-O2", "-shared", "-fPIC", "-o", "clock.so", "clock.c"]
    return run_installation("clock", [PROGRAMS / "clock.c"], compiler, newest=False) / "clock.so"
