"""The commit that a release is made from: its version, its time, and the reasons to refuse it."""

import io
import re
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import notes

_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
# Copies of the version, in files that are read without Python. Group 1 is the version.
_CHART = (r"^version: (\S+)$", r"^appVersion: (\S+)$")
_IMAGE = (r"\bimage: podpass:(\S+)",)
_TAG = r"(\d[\w.]*\w)"
COPIES = {
    "action.yml": (r"podpass\[demo\]==" + _TAG,),
    "charts/podpass-authority/Chart.yaml": _CHART,
    "charts/podpass-authority/README.md": (r"^\| `image.tag` \| `(\S+)` \|",),
    "charts/podpass-authority/values.yaml": (r"^  tag: (\S+)$",),
    "charts/podpass-cloud/Chart.yaml": _CHART,
    "charts/podpass-cloud/README.md": (r"^\| `image.tag` \| `(\S+)` \|",),
    "charts/podpass-cloud/values.yaml": (r"^  tag: (\S+)$",),
    "charts/podpass/Chart.yaml": _CHART,
    "charts/podpass/README.md": (r"^\| `image.release` \| `(\S+)` \|",),
    "charts/podpass/values.yaml": (r"^  release: (\S+)$",),
    "compose.yaml": _IMAGE,
    "deploy/Dockerfile": (r'image\.version="([^"]+)"', r"-t podpass:(\S+) "),
    "deploy/authority-seed.yaml": _IMAGE,
    "deploy/authority/deployment.yaml": (r'\bimage: "podpass:([^"]+)"',),
    "deploy/issuer/rotate.yaml": _IMAGE,
    "deploy/issuer/signer.yaml": _IMAGE,
    "deploy/values.yaml": (r"^  tag: (\S+)$",),
    "docs/develop/ci.md": (rf"podpass@v{_TAG}",),
    "docs/develop/cloud.md": (rf"podpass:{_TAG}",),
    "docs/develop/kind.md": (rf"podpass:{_TAG}", rf"podpass@v{_TAG}"),
    "docs/operate/install.md": (rf"/podpass:{_TAG}", rf"image\.release={_TAG}"),
    "docs/operate/self-host.md": (rf"/podpass:{_TAG}",),
    "docs/migrate/sidecar.md": (rf"/proxy(?:-init)?:{_TAG}",),
    "docs/develop/testcontainers.md": (rf"podpass:{_TAG}",),
    "examples/ci/app.yaml": _IMAGE,
    "examples/ci/azure-pipelines.yml": (rf"podpass\[demo\]=={_TAG}",),
    "examples/ci/github-actions.yml": (rf"/podpass@v{_TAG}",),
    "examples/ci/github-kind.yml": (rf"/podpass@v{_TAG}",),
    "examples/ci/gitlab-ci.yml": (rf"podpass\[demo\]=={_TAG}",),
    "examples/ci/gitlab-kind.yml": (rf"podpass\[demo\]=={_TAG}", rf"tags/v{_TAG}\.tar"),
    "examples/compose/compose.yaml": _IMAGE,
}


class ReleaseRefused(Exception):
    """No release can be made; the message gives the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """A clean commit.

    Units: `epoch` in seconds since 1970: the time of the commit, which every file of the release gets.
    """

    root: Path
    version: str
    commit: str
    epoch: int
    is_tagged: bool


def read_version(root: Path) -> str:
    """Return the version, which `src/podpass/__init__.py` defines. Raises ReleaseRefused."""
    found = _VERSION.search((root / "src/podpass/__init__.py").read_text())
    if found is None:
        raise ReleaseRefused("src/podpass/__init__.py has no __version__")
    return found[1]


def write_version(root: Path, version: str) -> list[str]:
    """Write a new version to its definition and to all copies; return the changed files."""
    definition = root / "src/podpass/__init__.py"
    definition.write_text(_VERSION.sub(f'__version__ = "{version}"', definition.read_text()))
    for name, patterns in COPIES.items():
        text = (root / name).read_text()
        for pattern in patterns:
            text = re.sub(pattern, lambda found: _replace(found, version), text, flags=re.MULTILINE)
        (root / name).write_text(text)
    return ["src/podpass/__init__.py", *COPIES]


def _replace(found: re.Match[str], version: str) -> str:
    start, end = found.start(1) - found.start(), found.end(1) - found.start()
    return found[0][:start] + version + found[0][end:]


def other_versions(root: Path, version: str) -> list[str]:
    """Return a line for each copy of the version that differs or is missing."""
    lines = []
    for name, patterns in COPIES.items():
        text = (root / name).read_text()
        for pattern in patterns:
            found = set(re.findall(pattern, text, re.MULTILINE))
            if found != {version}:
                lines.append(f"{name} has {', '.join(sorted(found)) or 'no version'}")
    return lines


def open_source(root: Path, tag: str | None = None) -> Source:
    """Check the commit that is checked out, and its tags.

    `tag` is a tag that the caller is about to publish; tags of the commit are read as well. Raises
    ReleaseRefused.
    """
    version = read_version(root)
    if changed := _git(root, "status", "--porcelain").splitlines():
        names = ", ".join(line[3:] for line in changed[:5])
        raise ReleaseRefused(f"the working tree has changes: {names}. Commit them, or remove them")
    if lines := other_versions(root, version):
        raise ReleaseRefused(
            f"the version is {version}, but {'; '.join(lines)}."
            f" Run: python scripts/release version {version}"
        )
    tags = [name for name in _git(root, "tag", "--points-at", "HEAD").split() if name[:1] == "v"]
    tags += [tag] if tag else []
    if wrong := sorted({name for name in tags if name != f"v{version}"}):
        raise ReleaseRefused(
            f"the tag {wrong[0]} is not the version {version}: tag v{version}, or change the version"
        )
    if tags and (reason := notes.unfinished(root, version)):
        raise ReleaseRefused(f"{reason}. Run: python scripts/release changelog")
    return Source(
        root=root,
        version=version,
        commit=_git(root, "rev-parse", "HEAD").strip(),
        epoch=int(_git(root, "log", "-1", "--format=%ct")),
        is_tagged=bool(tags),
    )


def export(source: Source, folder: Path) -> None:
    """Write the files of the commit, and no others, into a new folder."""
    # The modes of the files are the commit's, not those of the user's umask.
    archive = _run(source.root, "-c", "tar.umask=0022", "archive", "--format=tar", source.commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="tar")


def _git(root: Path, *arguments: str) -> str:
    return _run(root, *arguments).decode()


def _run(root: Path, *arguments: str) -> bytes:
    command: Sequence[str] = ("git", "-C", str(root), *arguments)
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except OSError as exc:
        raise ReleaseRefused(f"git cannot be started: {exc.strerror}. Install git") from exc
    except subprocess.CalledProcessError as exc:
        reason = exc.stderr.decode(errors="replace").strip()
        raise ReleaseRefused(f"a release is made from a git checkout: {reason}") from exc
    return done.stdout
