"""A release is built twice with the same files, then runs from its folder; a tag needs all files."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import podpass
from tests.programs import built
from tests.release.checkout import git, make_checkout, release
from tests.release.wheelhouse import pip_variables

pytestmark = [
    pytest.mark.processes,
    # Two environments are installed, and helm and crane may be built first.
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("ldd") is None, reason="assembling an image needs `ldd`"),
]

# One image is enough to compare: each is assembled, compiled and packed in the same way.
_BUILD = ("build", "--image", "podpass-webhook")
CHARTS = ("podpass", "podpass-authority", "podpass-cloud")
VERSION = podpass.__version__


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    for name in ("helm", "crane"):
        built(name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkout(tmp_path_factory.mktemp("release") / "checkout")


@pytest.fixture(scope="module")
def pip() -> dict[str, str]:
    return pip_variables()


@pytest.fixture(scope="module")
def dist(checkout: Path, pip: dict[str, str]) -> Path:
    done = release(checkout, *_BUILD, **pip)
    assert done.returncode == 0, done.stderr
    assert "NOT BUILT" not in done.stderr
    return checkout / "dist"


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_builds_of_a_commit_are_equal_byte_for_byte(
    checkout: Path, dist: Path, pip: dict[str, str], tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--quiet", str(checkout), "another-folder")
    shared = tmp_path / "bytecode"
    variables = {**pip, "PODPASS_IMAGE_BYTECODE": str(shared)}
    done = release(tmp_path / "another-folder", *_BUILD, "--dist", "other", **variables)
    assert done.returncode == 0, done.stderr
    # Both have compiled all modules.
    assert not shared.exists()
    assert _digests(tmp_path / "another-folder" / "other") == _digests(dist)


def test_release_folder_contains_exactly_the_expected_files(dist: Path) -> None:
    assert set(_digests(dist)) == {
        f"podpass-{VERSION}.tar.gz",
        f"podpass-{VERSION}-py3-none-any.whl",
        f"podpass-{VERSION}.cdx.json",
        *(f"{chart}-{VERSION}.tgz" for chart in CHARTS),
        *(f"{chart}-{VERSION}.chart.oci.tar" for chart in CHARTS),
        f"podpass-webhook-{VERSION}.image.oci.tar",
        *(path.name for path in dist.glob(f"podpass-webhook-{VERSION}-linux-*.cdx.json")),
        "release-notes.md",
        "provenance.intoto.json",
        "SHA256SUMS",
    }
    assert len(list(dist.glob("*-linux-*.cdx.json"))) == 1


def test_checksums_and_provenance_describe_the_files(checkout: Path, dist: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, check=True)
    statement = json.loads((dist / "provenance.intoto.json").read_text())
    digests = _digests(dist)
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == {
        name: value
        for name, value in digests.items()
        if name not in ("SHA256SUMS", "provenance.intoto.json")
    }
    definition = statement["predicate"]["buildDefinition"]
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": commit}
    uris = {one.get("uri") for one in definition["resolvedDependencies"]}
    assert any(uri and uri.startswith("pkg:pypi/cryptography@") for uri in uris)


def test_bill_of_materials_has_the_dependencies_of_the_wheel(dist: Path) -> None:
    bom = json.loads((dist / f"podpass-{VERSION}.cdx.json").read_text())
    assert bom["metadata"]["component"]["version"] == VERSION
    names = {one["name"].lower() for one in bom["components"]}
    assert {"aiohttp", "cryptography", "uvicorn"} <= names
    assert not {"pip", "setuptools", "pytest", "podpass", "azure-identity"} & names


def test_invalid_bill_of_materials_is_refused(load: Callable[[str], Any], dist: Path) -> None:
    bom = json.loads((dist / f"podpass-{VERSION}.cdx.json").read_text())
    bom["components"][0]["type"] = "unknown"
    artifacts, programs = load("artifacts"), load("programs")
    with pytest.raises(programs.ProgramFailed, match=r"the SBOM is invalid: .*unknown"):
        artifacts.validate_bom(json.dumps(bom))


def test_sdist_has_only_committed_files(checkout: Path, dist: Path) -> None:
    committed = set(git(checkout, "ls-files").splitlines())
    with tarfile.open(dist / f"podpass-{VERSION}.tar.gz") as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert names - committed == {"PKG-INFO"}
    assert {"Makefile", "src/podpass/__init__.py", "charts/podpass/Chart.yaml"} <= names


def test_release_runs_from_its_folder(dist: Path, pip: dict[str, str]) -> None:
    """The wheel runs the demo; images and charts are uploaded to loopback, and a chart is installed."""
    done = release(dist.parent, "verify", **pip)
    if "in use on this machine" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert "NOT VERIFIED" not in done.stderr
    assert "wheel: installed; its demo read the secret" in done.stderr
    assert "registry on loopback: 4 images and charts uploaded" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("chart podpass-authority: installed")


def test_plan_names_each_target_and_sends_nothing(checkout: Path, dist: Path) -> None:
    done = release(checkout, "plan", "--registry", "registry.example/team")
    assert done.returncode == 0, done.stderr
    assert "this command sends nothing" in done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        f"PyPI podpass-{VERSION}-py3-none-any.whl",
        f"PyPI podpass-{VERSION}.tar.gz",
        f"registry registry.example/team/podpass-webhook:{VERSION}",
        f"registry registry.example/team/charts/podpass:{VERSION}",
        f"registry registry.example/team/charts/podpass-authority:{VERSION}",
        f"registry registry.example/team/charts/podpass-cloud:{VERSION}",
        f"release v{VERSION}, with release-notes.md and {len(_digests(dist))} files",
    ]


def test_changed_file_is_not_verified(
    load: Callable[[str], Any], dist: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(dist, tmp_path / "dist")
    artifacts, programs = load("artifacts"), load("programs")
    assert artifacts.check_sums(copy) == len(_digests(dist)) - 1
    (copy / "release-notes.md").write_text("other")
    (copy / "new").touch()
    with pytest.raises(programs.ProgramFailed, match=r"does not describe new, release-notes.md"):
        artifacts.check_sums(copy)


@pytest.mark.parametrize("change", ["untracked", "tag"])
def test_refused_commit_ends_with_the_reason(checkout: Path, tmp_path: Path, change: str) -> None:
    git(tmp_path, "clone", "--quiet", str(checkout), "clone")
    if change == "untracked":
        (tmp_path / "clone" / "new.txt").touch()
    else:
        git(tmp_path / "clone", "tag", "v9.9.9")
    done = release(tmp_path / "clone", "build")
    assert done.returncode == 1
    assert done.stderr.startswith("no release: the ")
    assert not (tmp_path / "clone" / "dist").exists()
