"""The container image, built without Docker: its content, its unprivileged user, its read-only root."""

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import stat
import sys
import tarfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import podpass
from tests.deploy.image_root import ROOT, SHELLS, USER, open_layer, run_in_image, run_script
from tests.run_program import run_text

INSTALLERS = {"pip", "ensurepip", "setuptools", "wheel", "easy_install", "apt", "dpkg"}

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("ldd") is None, reason="assembling an image needs `ldd`"),
]


def test_required_distributions_are_found_without_the_package_packaging() -> None:
    """`make demo` installs no `packaging`."""
    program = (
        "import sys; sys.modules['packaging'] = None; sys.path.insert(0, sys.argv[1])\n"
        "import image_root\n"
        "print(*sorted(image_root.required_distributions('podpass')))"
    )
    done = run_text([sys.executable, "-c", program, str(ROOT / "scripts")])
    assert {"podpass", "aiohttp", "click"} <= set(done.stdout.split()), done.stderr


# ---------------------------------------------------------------------------------------- contents


def _programs(root: Path) -> set[str]:
    return {
        path.name
        for path in root.rglob("*")
        if path.is_file() and os.access(path, os.X_OK) and ".so" not in path.name
    }


def test_image_has_no_programs_except_python_and_podpass(root: Path) -> None:
    python = {"python", "python3", f"python{sys.version_info.major}.{sys.version_info.minor}"}
    bin_folder = {path.name for path in (root / "usr/local/bin").iterdir()}
    assert bin_folder == {"podpass", *python}
    assert _programs(root) == bin_folder
    assert not SHELLS & {path.name for path in root.rglob("*")}


def test_image_has_no_package_installer(root: Path) -> None:
    names = {path.stem for path in root.rglob("*")} | {path.name for path in root.rglob("*")}
    assert not INSTALLERS & names


def test_image_has_no_setuid_and_no_writable_files_except_tmp(root: Path) -> None:
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID), path
        assert path.is_symlink() or path == root / "tmp" or not mode & stat.S_IWOTH, path


def test_image_has_no_test_tools(root: Path) -> None:
    (site,) = root.glob("usr/local/lib/python*/*-packages")
    found = {path.name.lower() for path in site.iterdir()}
    assert "podpass" in found
    assert not {"pytest", "_pytest", "hypothesis", "mypy", "ruff", "trustme", "kubernetes"} & found


def test_packages_are_in_the_interpreters_search_path(root: Path) -> None:
    """Debian's interpreter uses another package folder; an image built from it must use the right one."""
    (site,) = root.glob("usr/local/lib/python*/*-packages")
    looked_in = run_in_image(root, "python3", "-Ic", "import sys; print(*sys.path)").stdout.split()
    assert f"/{site.relative_to(root)}" in looked_in


def test_image_has_one_user_that_is_not_root(root: Path) -> None:
    assert (root / "etc/passwd").read_text().startswith(f"nonroot:x:{USER}:{USER}:")
    assert len((root / "etc/passwd").read_text().splitlines()) == 1


def test_bill_of_materials_lists_all_installed_distributions(root: Path) -> None:
    sbom = json.loads((root / "usr/share/sbom/podpass.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5")
    assert sbom["metadata"]["component"]["version"] == podpass.__version__
    parts = [sbom["metadata"]["component"], *sbom["components"]]
    listed = {(part["name"], part["version"]) for part in parts if part["name"] != "python"}
    (site,) = root.glob("usr/local/lib/python*/*-packages")
    installed = {
        (re.sub(r"[-_.]+", "-", one.name).lower(), one.version)
        for one in metadata.distributions(path=[str(site)])
    }
    assert listed == installed
    assert {"aiohttp", "cryptography", "uvloop", "psycopg-binary"} <= {name for name, _ in listed}
    assert all(part["purl"].startswith("pkg:pypi/") for part in parts if part["name"] != "python")


# --------------------------------------------------------------------------------------------- run


def test_podpass_runs_as_the_unprivileged_user(root: Path) -> None:
    done = run_in_image(root, "podpass", "--version")
    assert (done.stdout, done.stderr) == (f"podpass {podpass.__version__}\n", "")
    values = (
        "--tenant-id",
        "contoso.example",
        "--set",
        "image.repository=registry.example/podpass",
    )
    assert "Deployment" in run_in_image(root, "podpass", "manifests", *values).stdout


def test_every_module_of_podpass_can_be_imported(root: Path) -> None:
    """All modules can be imported, including the libraries that C and Rust modules load.

    The image has no optional packages, which the modules of the external signer and of Testcontainers import
    at their start, and no pytest, which the plugin imports.
    """
    script = (
        "import importlib, pkgutil, podpass\n"
        "walk = pkgutil.walk_packages(podpass.__path__, 'podpass.')\n"
        "without = ('podpass.pytest.', 'podpass.servers.signer.', 'podpass.testcontainers')\n"
        "names = [one.name for one in walk if not one.name.startswith(without)]\n"
        "found = [importlib.import_module(n) for n in names if not n.endswith('__main__')]\n"
        "import sqlite3, ssl, psycopg, uvloop\n"
        "print(len(found), len(ssl.create_default_context().get_ca_certs()))\n"
    )
    done = run_in_image(root, "python", "-c", script)
    assert done.returncode == 0, done.stderr
    modules, authorities = map(int, done.stdout.split())
    assert modules > 200
    assert authorities > 50


def test_process_is_unprivileged_and_cannot_write(root: Path) -> None:
    script = (
        "import os\nprint(os.getuid(), os.getgid())\n"
        "for where in ('/x', '/tmp/x', '/usr/local/bin/x'):\n"
        "    try:\n        open(where, 'w')\n"
        "    except OSError as exc:\n        print(exc.strerror)\n"
    )
    done = run_in_image(root, "python", "-c", script)
    assert done.stdout.splitlines() == [f"{USER} {USER}", *["Read-only file system"] * 3]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the library is for x86-64")
def test_multibuffer_extra_adds_the_library(tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_script("root", str(root), "multibuffer")
    script = (
        "from podpass.crypto import jose\n"
        "from podpass.crypto.multibuffer import library as multibuffer\n"
        "try:\n    library = multibuffer.find_library()\n"
        "except multibuffer.MultiBufferUnusable as exc:\n    print(exc.message)\n"
        "else:\n    key = jose.generate_rsa()\n"
        "    print(library.file, len(library.load(key).sign([b'text'] * 8)))\n"
    )
    done = run_in_image(root, "python", "-c", script)
    assert done.returncode == 0, done.stderr
    if "avx512ifma" in Path("/proc/cpuinfo").read_text():
        assert re.fullmatch(r"/usr/local/lib/libcrypto_mb\.so\.\d+ 8\n", done.stdout)
    else:
        assert "which /usr/local/lib/libcrypto_mb.so.13 needs" in done.stdout


def test_unknown_extra_is_refused_with_the_available_ones(tmp_path: Path) -> None:
    """An unknown extra must not be ignored: the image would silently lack the library."""
    command = [
        sys.executable,
        str(ROOT / "scripts" / "image.py"),
        "root",
        str(tmp_path),
        "multibufer",
    ]
    done = run_text(command)
    assert done.returncode == 1
    assert "no image: podpass[multibufer] has no multibufer; it has " in done.stderr
    assert "multibuffer" in done.stderr.rpartition("it has ")[2]


def test_modules_are_precompiled(root: Path) -> None:
    """On a read-only root each start would compile all modules again."""
    modules = list(root.glob("usr/local/lib/python*/*-packages/podpass/**/*.py"))
    assert len(modules) > 200
    tag = sys.implementation.cache_tag
    for path in modules:
        assert (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists(), path


def test_builds_share_the_modules_that_have_the_same_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    image_root = importlib.import_module("image_root")
    module = tmp_path / image_root.LIBRARY / "module.py"
    module.parent.mkdir(parents=True)
    compiled = Path(importlib.util.cache_from_source(str(module)))

    def build(text: str) -> bytes:
        module.write_text(text)
        compiled.unlink(missing_ok=True)
        image_root._compile(tmp_path)
        return compiled.read_bytes()

    alone = build("VALUE = 1")
    monkeypatch.setenv(image_root.BYTECODE, str(tmp_path / "shared"))
    assert build("VALUE = 1") == alone
    (stored,) = (tmp_path / "shared").glob("*/*")
    assert stored.read_bytes() == alone
    stored.write_bytes(b"of another build")
    assert build("VALUE = 1") == b"of another build"
    assert build("VALUE = 2") not in (alone, b"of another build")
    monkeypatch.delenv(image_root.BYTECODE)
    assert build("VALUE = 1") == alone


# ------------------------------------------------------------------------------------------ archive


def _json(tar: tarfile.TarFile, name: str) -> Any:
    content = tar.extractfile(name)
    assert content is not None
    return json.loads(content.read())


def test_archive_is_an_oci_image_with_correct_digests(archive: tuple[Path, str]) -> None:
    file, digest = archive
    with tarfile.open(file) as tar:
        blobs = [name for name in tar.getnames() if name.startswith("blobs/")]
        assert len(blobs) == 3
        for name in blobs:
            content = tar.extractfile(name)
            assert content is not None
            assert hashlib.sha256(content.read()).hexdigest() == name.rpartition("/")[2]
        assert _json(tar, "oci-layout") == {"imageLayoutVersion": "1.0.0"}
        (named,) = _json(tar, "index.json")["manifests"]
        assert named["digest"] == digest
        # Without a full name, containerd imports it under a name that no pod can use.
        name = f"docker.io/library/podpass:{podpass.__version__}"
        assert named["annotations"]["io.containerd.image.name"] == name
        manifest = _json(tar, f"blobs/sha256/{digest.removeprefix('sha256:')}")
        config = _json(tar, f"blobs/sha256/{manifest['config']['digest'].removeprefix('sha256:')}")
        (docker,) = _json(tar, "manifest.json")
        assert {docker["Config"], *docker["Layers"]} <= set(blobs)
        assert docker["RepoTags"] == [f"podpass:{podpass.__version__}"]
    assert config["config"]["User"] == f"{USER}:{USER}"
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == podpass.__version__
    assert file.with_suffix(".cdx.json").exists()


def test_layer_is_owned_by_root_and_only_tmp_is_world_writable(archive: tuple[Path, str]) -> None:
    with open_layer(archive[0]) as layer:
        entries = layer.getmembers()
    assert entries
    for entry in entries:
        assert (entry.uid, entry.gid, entry.mtime) == (0, 0, 0)
        assert entry.isfile() or entry.isdir() or entry.issym(), entry.name
        if entry.name == "tmp":
            assert entry.mode == 0o1777
        elif not entry.issym():
            assert not entry.mode & 0o6022, entry.name


def test_same_environment_assembles_the_same_files(
    root: Path, target_root: Callable[[str], Path]
) -> None:
    """A reproducible image can be verified by building it again. The authority's image has the same files.

    tests/release/test_build.py compares complete builds, in which all modules are compiled.
    """
    found = _digests(root)
    assert len(found) > 2000
    assert _digests(target_root("authority")) == found


def _digests(root: Path) -> dict[str, tuple[int, str]]:
    """Return mode and digest of each file; the digest of a symbolic link is its target."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, _digest(path))
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def _digest(path: Path) -> str:
    return (
        str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
    )


def test_dockerfile_builds_the_same_image(archive: tuple[Path, str]) -> None:
    with tarfile.open(archive[0]) as tar:
        (named,) = _json(tar, "index.json")["manifests"]
        manifest = _json(tar, "blobs/" + named["digest"].replace(":", "/"))
        config = _json(tar, "blobs/" + manifest["config"]["digest"].replace(":", "/"))["config"]
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    build, _, final = text.partition("FROM scratch\n")
    assert build.count("ARG EXTRAS=\n") == 2
    assert (
        'pip install --no-cache-dir -c /src/constraints.txt /src/kubeling "/src${EXTRAS:+[$EXTRAS]}"'
        in build
    )
    assert "/src/scripts/image.py root /image $EXTRAS\n" in build
    assert "COPY --from=build /image /\n" in final
    assert "RUN" not in final
    said = dict(re.findall(r'(org\.opencontainers\.\S+)="([^"]*)"', final))
    assert said == config["Labels"]
    assert f"USER {config['User']}\n" in final
    assert f"ENV {' '.join(config['Env'])}\n" in final
    assert f"CMD {json.dumps(config['Cmd'])}\n" in final


def test_image_has_the_commands_of_chart_and_manifests(root: Path) -> None:
    commands = set()
    for folder in ("charts", "deploy/authority"):
        for path in (ROOT / folder).rglob("*.yaml"):
            text = path.read_text()
            commands.update(re.findall(r"command: \[(\w+)", text))
            commands.update(re.findall(r"command:\n\s+- (\w+)", text))
    # `azurite` and its probe, `node`, run in another image.
    assert commands == {"podpass", "python", "azurite", "node"}
    assert commands - {"azurite", "node"} <= {
        path.name for path in (root / "usr/local/bin").iterdir()
    }
