"""How the programs of each language are installed, built and started.

Shapes:  every function gives the beginning of a command line; an age is `oldest` or `newest`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.installed import PROGRAMS, installed, python_commands, tool

OLDEST, NEWEST = "oldest", "newest"


def python(program: str, age: str, requirements: str = "") -> list[str]:
    """Give a Python that has exactly what the requirements name, and the program."""
    listed = PROGRAMS / "python" / f"{requirements}{age}.txt"
    commands = python_commands("-r", listed.name)
    folder = installed(f"python-{requirements}{age}", [listed], *commands, newest=age == NEWEST)
    return [str(folder / "bin" / "python"), str(PROGRAMS / "python" / f"{program}.py")]


def node(program: str, age: str) -> list[str]:
    """Give Node and the program, copied beside the packages that it requires."""
    programs = sorted((PROGRAMS / "node").glob("*.cjs"))
    folder = npm(f"node-{age}", [PROGRAMS / "node" / age / "package.json", *programs], age)
    return [tool("node"), str(folder / f"{program}.cjs")]


def npm(name: str, files: list[Path], age: str) -> Path:
    """Install what a package.json names; give the folder."""
    install = [tool("npm"), "install", "--no-audit", "--no-fund", "--loglevel=error"]
    return installed(name, files, install, newest=age == NEWEST)


def java(program: str, age: str) -> list[str]:
    """Give Java and the compiled program on the class path that Maven made."""
    sources = sorted((PROGRAMS / "java").glob("*.java"))
    maven = [tool("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    compiler = [tool("javac"), "--release", "11", "-d", "classes", "-cp", "lib/*"]
    folder = installed(
        f"java-{age}",
        [PROGRAMS / "java" / age / "pom.xml", *sources],
        maven,
        [*compiler, *(source.name for source in sources)],
        newest=False,
    )
    path = f"{folder}/classes:{folder}/lib/*"
    # Short programs: the second compiler would cost more than it saves.
    return [tool("java"), "-XX:TieredStopAtLevel=1", "-cp", path, program]


def go(program: str, age: str) -> list[str]:
    """Give a binary built of the modules that go.mod and go.sum pin: `client` or `rotation`."""
    pinned = [PROGRAMS / "go" / age / name for name in ("go.mod", "go.sum")]
    compiler = tool("go")
    version = subprocess.run([compiler, "version"], capture_output=True, text=True, check=True)
    folder = installed(
        f"go-{age}",
        [*pinned, *sorted((PROGRAMS / "go").glob("*.go"))],
        [compiler, "build", "-mod=readonly", "-o", "client", "."],
        [compiler, "test", "-mod=readonly", "-c", "-o", "rotation", "."],
        newest=False,
        made_with=version.stdout,
    )
    return [str(folder / program)]


def azmcp() -> list[str]:
    """Give what speaks to the program in which the npm registry carries .NET's identity library."""
    folder = npm("dotnet", [PROGRAMS / "dotnet" / "package.json"], NEWEST)
    found = sorted(folder.glob("node_modules/@azure/mcp-*/dist/azmcp"))
    assert found, "@azure/mcp has no program for this machine"
    return [sys.executable, str(PROGRAMS / "python" / "mcp.py"), str(found[0])]


def azurite() -> list[str]:
    """Give Azure's own emulator of blob storage."""
    folder = npm("azurite", [PROGRAMS / "azurite" / "package.json"], NEWEST)
    return [tool("node"), str(folder / "node_modules" / ".bin" / "azurite-blob")]


def clock() -> Path:
    """Give the library that, preloaded, tells a program another time."""
    if sys.platform != "linux":
        pytest.skip("programs are told another time by preloading, as Linux does it")
    compiler = [tool("cc"), "-O2", "-shared", "-fPIC", "-o", "clock.so", "clock.c"]
    return installed("clock", [PROGRAMS / "clock.c"], compiler, newest=False) / "clock.so"
