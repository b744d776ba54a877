"""Each kind of file: the libraries that it names, and content that is not what its name says."""

import struct
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from podpass.migration.scan import limits, readers
from podpass.migration.scan.go_files import ELF
from podpass.migration.scan.model import LimitExceeded, Mention, Precision
from podpass.migration.scan.readers import FileReader, NotRead, choose_reader, read_file
from tests.run_program import run_text

AT_LEAST, UNKNOWN = Precision.AT_LEAST, Precision.UNKNOWN
GO = "github.com/Azure/azure-sdk-for-go/sdk/azidentity"
# The markers around the list of modules in a binary of Go.
START = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
END = bytes.fromhex("f932433186182072008242104116d8f2")

TEXTS = [
    (
        "a.dist-info/METADATA",
        "Name: azure_identity\nVersion: 1.12.0\n\nName: x\n",
        "azure-identity 1.12.0",
    ),
    ("a.egg-info/PKG-INFO", "Name: adal\r\nVersion: 1.2.7\r\n\r\n", "adal 1.2.7"),
    ("adal-1.2.egg-info", "Name: adal\nVersion: 1.2\n", "adal 1.2"),
    (
        "requirements.txt",
        "Azure.Identity[x]==1.12.0 ; python_version > '3' # y\n",
        "azure-identity 1.12.0",
    ),
    ("requirements-dev.in", "azure-identity>=1.15,<2\n", "azure-identity >=1.15"),
    ("requirements.txt", "azure-identity\nazure-identity-broker==1\n", "azure-identity ?"),
    ("requirements.txt", "azure-identity @ https://x.invalid/a.whl\n", ""),
    (
        "Pipfile.lock",
        '{"default": {"msal": {"version": "==1.22.0"}}, "develop": []}',
        "msal 1.22.0",
    ),
    (
        "poetry.lock",
        (
            '[[package]]\nname = "azure-identity"\nversion = "1.12.0"\n[package.dependencies]\nname = "x"\n'
            '[[package]]\nname = "other"\nversion = "1"\n'
        ),
        "azure-identity 1.12.0",
    ),
    ("uv.lock", 'version = 1\n[[package]]\nname = "adal"\nversion = "1.2"\n', "adal 1.2"),
    ("pylock.toml", '[[packages]]\nname = "adal"\nversion = "1.2"\n', "adal 1.2"),
    (
        "node_modules/.pnpm/@azure+identity@3.1.3/node_modules/@azure/identity/package.json",
        '{"name": "@azure/identity", "version": "3.1.3", "dependencies": {"adal-node": "1"}}',
        "@azure/identity 3.1.3",
    ),
    ("package.json", '{"dependencies": {"@azure/identity": "^3.1.0"}}', "@azure/identity >=3.1.0"),
    ("package.json", '{"dependencies": {"@azure/identity": "3.1.0"}}', "@azure/identity 3.1.0"),
    ("package.json", '{"dependencies": {"@azure/identity": "latest"}}', "@azure/identity ?"),
    ("package.json", '{"dependencies": {"@azure/identity": "workspace:*"}}', "@azure/identity ?"),
    (
        "package-lock.json",
        (
            '{"packages": {"": {}, "node_modules/@azure/identity": {"version": "3.1.3"},'
            ' "node_modules/a/node_modules/adal-node": {"version": "0.2.4"}}}'
        ),
        "@azure/identity 3.1.3, adal-node 0.2.4",
    ),
    (
        "package-lock.json",
        '{"dependencies": {"a": {"dependencies": {"adal-node": {"version": "0.2.4"}}}}}',
        "adal-node 0.2.4",
    ),
    (
        "node_modules/.package-lock.json",
        '{"packages": {"node_modules/@azure/identity": {"version": "3.1.3"}}}',
        "@azure/identity 3.1.3",
    ),
    (
        "yarn.lock",
        (
            '# yarn lockfile v1\n\n"@azure/identity@^3.0.0", "@azure/identity@^3.1.0":\n  version "3.1.3"\n'
            '  resolved "x"\nother@1:\n  version "1"\n'
        ),
        "@azure/identity 3.1.3",
    ),
    ("yarn.lock", '"@azure/identity@npm:^3.0.0":\n  version: 3.1.3\n', "@azure/identity 3.1.3"),
    (
        "pnpm-lock.yaml",
        "packages:\n  '@azure/identity@3.1.3':\n    x: 1\n",
        "@azure/identity 3.1.3",
    ),
    ("pnpm-lock.yaml", "packages:\n  /@azure/identity/3.1.3:\n", "@azure/identity 3.1.3"),
    ("go.mod", f"module x\nrequire (\n\t{GO} v1.2.2 // indirect\n)\n", f"{GO} 1.2.2"),
    ("go.mod", f"require {GO} v1.3.0\nreplace {GO} => ../x\n", f"{GO} 1.3.0"),
    ("vendor/modules.txt", f"# {GO} v1.2.2\n## explicit\n{GO}\n", f"{GO} 1.2.2"),
    ("vendor/modules.txt", f"# {GO} v1.2.2 => example.com/x v1.4.0\n", f"{GO} 1.4.0"),
    ("azure-identity-1.8.3.jar", "not a zip", "com.azure:azure-identity 1.8.3"),
    (
        "pom.xml",
        (
            "<properties><v.x>1.8.0</v.x></properties><dependency><artifactId>azure-identity</artifactId>\n"
            "<version>${v.x}</version></dependency><artifactId>adal4j</artifactId>"
        ),
        "com.azure:azure-identity 1.8.0, com.microsoft.azure:adal4j ?",
    ),
    (
        "build.gradle.kts",
        'implementation("com.azure:azure-identity:1.8.0")',
        "com.azure:azure-identity 1.8.0",
    ),
    ("build.gradle", "implementation 'com.azure:azure-identity'", "com.azure:azure-identity ?"),
    ("build.gradle", "implementation 'com.azure:azure-identity-extensions:1.0'", ""),
    (
        "gradle.lockfile",
        "com.azure:azure-identity:1.8.0=runtimeClasspath",
        "com.azure:azure-identity 1.8.0",
    ),
    (
        "app.deps.json",
        '{"libraries": {"Azure.Identity/1.8.2": {}, "azure.core/1": {}}}',
        "Azure.Identity 1.8.2",
    ),
    (
        "a.csproj",
        '<PackageReference Include="azure.identity" Version="1.8.2" />',
        "Azure.Identity 1.8.2",
    ),
    ("a.csproj", '<PackageReference Include="Azure.Identity" />', "Azure.Identity ?"),
    (
        "a.csproj",
        '<PackageReference Include="Azure.Identity" Version="[1.8,2)" />',
        "Azure.Identity >=1.8",
    ),
    (
        "a.csproj",
        '<PackageReference Include="Azure.Identity" Version="1.*" />',
        "Azure.Identity >=1.0",
    ),
    ("packages.config", '<package id="Azure.Identity" version="1.8.2" />', "Azure.Identity 1.8.2"),
    (
        "packages.lock.json",
        '{"dependencies": {"net8.0": {"Azure.Identity": {"resolved": "1.8.2"}}}}',
        "Azure.Identity 1.8.2",
    ),
    (
        "vcpkg/status",
        "Package: azure-identity-cpp\nVersion: 1.5.1#2\n\nPackage: x\nVersion: 1\n",
        "azure-identity-cpp 1.5.1",
    ),
]


def describe(mention: Mention) -> str:
    mark = {AT_LEAST: ">=", UNKNOWN: "?"}.get(mention.precision, "")
    return f"{mention.library} {mark}{mention.version}"


def read(path: str, content: bytes) -> list[Mention]:
    reader = choose_reader(path)
    assert reader is not None
    return read_file(path, reader, BytesIO(content))


@pytest.mark.parametrize(("path", "text", "expected"), TEXTS, ids=range(len(TEXTS)))
def test_file_names_its_libraries(path: str, text: str, expected: str) -> None:
    assert ", ".join(map(describe, read(f"srv/app/{path}", text.encode()))) == expected


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null", b'"x"', b"[[[", b"\0" * 99])
@pytest.mark.parametrize("path", sorted({path for path, _, _ in TEXTS}))
def test_unexpected_content_names_no_library_version(path: str, content: bytes) -> None:
    try:
        found = read(path, content)
    except NotRead as exc:
        assert str(exc) == "it is not valid JSON"
        found = []
    assert [each for each in found if each.version] == read(path, b"{}")


@pytest.mark.parametrize(
    "path",
    ["package-lock.json", "Pipfile.lock", "app.deps.json", "packages.lock.json", "package.json"],
)
def test_json_of_more_than_4_mib_is_not_read(path: str) -> None:
    limit = 4 * 1024 * 1024
    assert read(path, b"{}".ljust(limit)) == []
    with pytest.raises(NotRead, match="more than 4 MiB"):
        read(path, b"{}".ljust(limit + 1))


@pytest.mark.parametrize("path", ["package-lock.json", "app.deps.json", "package.json"])
def test_deeply_nested_json_is_not_read(path: str) -> None:
    with pytest.raises(NotRead, match="not valid JSON"):
        read(path, b'{"packages":' + b"[" * 200_000)


def modules(*lines: str) -> bytes:
    return START + "\n".join(lines).encode() + b"\n" + END


def test_binary_of_go_names_its_modules() -> None:
    lines = ("path\tx", "mod\tx\t(devel)", f"dep\t{GO}\tv1.2.2\th1:x=", "build\t-compiler=gc")
    binary = ELF + bytes(3_000_000) + modules(*lines) + bytes(100)
    assert [describe(each) for each in read("bin/app", binary)] == [f"{GO} 1.2.2"]


@pytest.mark.parametrize("cut", range(0, 33, 8))
def test_modules_are_found_at_every_boundary_of_a_read(cut: int) -> None:
    """The file is read in parts of a MiB."""
    text = modules(f"dep\t{GO}\tv1.2.2")
    before = 1024 * 1024 - cut
    assert len(read("bin/app", ELF + bytes(before) + text)) == 1
    after = 2 * 1024 * 1024 - len(text) + cut
    assert len(read("bin/app", ELF + bytes(after) + text)) == 1


def test_replaced_module_has_the_version_of_its_replacement() -> None:
    text = modules(f"dep\t{GO}\tv1.2.2", "=>\texample.com/fork\tv1.4.0\th1:x=")
    assert [describe(each) for each in read("bin/app", ELF + text)] == [f"{GO} 1.4.0"]


@pytest.mark.parametrize(
    "binary",
    [
        modules(f"dep\t{GO}\tv1.2.2"),
        ELF,
        ELF + START + f"dep\t{GO}\tv1.2.2".encode(),
        ELF + START + bytes(6_000_000) + f"\ndep\t{GO}\tv1.2.2\n".encode() + END,
    ],
    ids=["no-elf", "no-modules", "no-end", "list-over-the-limit"],
)
def test_file_without_a_list_of_modules_names_no_library(binary: bytes) -> None:
    assert read("bin/app", binary) == []


def jar(**files: bytes) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


MERGED = {
    "META-INF/maven/com.azure/azure-identity/pom.properties": b"#x\nversion=1.8.3\nartifactId=y\n"
}
NESTED = {
    "BOOT-INF/lib/azure-identity-1.8.3.jar": b"x",
    "BOOT-INF/lib/azure-identity-extensions-1.jar": b"",
}


@pytest.mark.parametrize("files", [MERGED, NESTED], ids=["merged", "nested"])
@pytest.mark.parametrize(
    "before", [b"", b"#!/bin/sh\nexec java -jar $0\n"], ids=["plain", "script"]
)
def test_jar_names_merged_and_nested_libraries(files: dict[str, bytes], before: bytes) -> None:
    content = before + jar(**files)
    assert [describe(each) for each in read("app.jar", content)] == [
        "com.azure:azure-identity 1.8.3"
    ]


def test_jar_with_a_large_directory_is_refused() -> None:
    content = bytearray(jar(**MERGED))
    at = content.rindex(b"PK\x05\x06")
    struct.pack_into("<L", content, at + 12, 64 * 1024 * 1024)
    with pytest.raises(LimitExceeded, match="directory of a jar"):
        read("app.jar", bytes(content))


def test_properties_in_a_jar_are_decompressed_up_to_a_limit() -> None:
    name = next(iter(MERGED))
    bomb = jar(**{name: b"version=1.8.3\n" + bytes(50_000_000) + b"\nversion=1\n"})
    assert [describe(each) for each in read("app.jar", bomb)] == ["com.azure:azure-identity 1.8.3"]
    late = jar(**{name: bytes(50_000_000) + b"\nversion=1.8.3\n"})
    assert read("app.jar", late) == []


def test_jar_that_names_a_library_too_often_is_refused() -> None:
    names = [f"META-INF/maven/g{number}/azure-identity/pom.properties" for number in range(65)]
    with pytest.raises(LimitExceeded, match="more than 64"):
        read("app.jar", jar(**dict.fromkeys(names, b"version=1\n")))


def test_jar_above_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jar(**MERGED)
    monkeypatch.setattr(readers, "MAX_JAR_BYTES", len(content))
    assert len(read("app.jar", content)) == 1
    monkeypatch.setattr(readers, "MAX_JAR_BYTES", len(content) - 1)
    with pytest.raises(NotRead, match="more than"):
        read("app.jar", content)


@pytest.mark.parametrize("name", ["package-lock.json", "app.deps.json", "Pipfile.lock"])
def test_json_file_with_too_many_values_is_not_read(name: str) -> None:
    most = limits.MAX_JSON_VALUES
    assert read(name, b'{"a":[' + b"0," * (most - 3) + b"0]}") == []
    with pytest.raises(NotRead, match="250000 values"):
        read(name, b'{"a":[' + b"0," * (most - 1) + b"0]}")


def test_jar_above_the_limit_takes_no_more_temporary_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_JAR_BYTES", 1)
    stream = BytesIO(bytes(10 * limits.MIB))
    with pytest.raises(NotRead):
        read_file("app.jar", FileReader(is_jar=True), stream)
    assert len(stream.read()) == 9 * limits.MIB


def test_file_that_names_too_many_versions_is_refused() -> None:
    lines = b"".join(b"adal==1.%d\n" % number for number in range(2001))
    with pytest.raises(LimitExceeded, match="more than 2000 times"):
        read("requirements.txt", lines)


@pytest.mark.parametrize("cut", [10, 60, 100, 200])
def test_damaged_jar_is_read_without_an_error(cut: int) -> None:
    content = jar(**MERGED)
    assert read("app.jar", content[:-cut]) == []
    assert isinstance(read("app.jar", content[:40] + bytes(40) + content[80:]), list)


def test_package_that_pip_installed_is_found() -> None:
    """The real metadata of a released package."""
    where = "import importlib.metadata as m; print(m.distribution('azure-identity')._path)"
    done = run_text([sys.executable, "-c", where], check=True)
    path = Path(done.stdout.strip()) / "METADATA"
    [found] = read(str(path), path.read_bytes())
    assert found.library == "azure-identity"
    assert found.version == path.parent.name.split("-")[1].removesuffix(".dist")


@pytest.mark.parametrize(
    "path",
    [
        "a.so",
        "libx.so.1.2",
        "node_modules/other/package.json",
        "x/y.o",
        "site-packages/x/requirements.txt",
        "lib/python3/dist-packages/x/examples/package-lock.json",
        "site-packages/x/package.json",
        "node_modules/x/test/yarn.lock",
        "node_modules/a/node_modules/b/package.json",
    ],
)
def test_file_whose_path_cannot_name_a_library_is_not_opened(path: str) -> None:
    assert choose_reader(path) is None
