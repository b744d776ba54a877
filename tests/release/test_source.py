"""A release is made from a clean commit, with one version everywhere and no other tag."""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import podpass
from tests.release.checkout import ROOT, git
from tests.release.conftest import VERSION


@pytest.fixture
def source(load: Callable[[str], Any]) -> Any:
    return load("source")


def test_clean_commit_is_accepted_with_its_time(source: Any, small: Path) -> None:
    found = source.open_source(small)
    assert (found.version, found.is_tagged) == (VERSION, False)
    assert found.commit == git(small, "rev-parse", "HEAD").strip()
    assert found.epoch == 1767323045


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new.txt"], ids=["changed", "untracked"])
def test_working_tree_with_changes_is_refused(source: Any, small: Path, name: str) -> None:
    (small / name).write_text("changed\n")
    with pytest.raises(source.ReleaseRefused, match=f"has changes: {name}. Commit them"):
        source.open_source(small)


def test_tag_of_the_version_is_accepted(source: Any, small: Path) -> None:
    git(small, "tag", f"v{VERSION}")
    assert source.open_source(small).is_tagged
    assert source.open_source(small, f"v{VERSION}").is_tagged


@pytest.mark.parametrize("tag", ["v9.9.9", "v0.1", "v0.1.0-rc1"])
def test_tag_of_another_version_is_refused(source: Any, small: Path, tag: str) -> None:
    with pytest.raises(source.ReleaseRefused, match=f"the tag {re.escape(tag)} is not the version"):
        source.open_source(small, tag)
    git(small, "tag", tag)
    with pytest.raises(source.ReleaseRefused, match=f"the tag {re.escape(tag)} is not the version"):
        source.open_source(small)


def test_tag_that_names_no_version_is_ignored(source: Any, small: Path) -> None:
    git(small, "tag", "nightly")
    assert not source.open_source(small).is_tagged


def test_tag_needs_a_finished_changelog(source: Any, small: Path) -> None:
    (small / "changelog.d" / "loop.fixed.md").write_text("A fix.\n")
    git(small, "add", "--all")
    git(small, "commit", "--quiet", "--message=fix")
    assert source.open_source(small)
    with pytest.raises(source.ReleaseRefused, match=r"1 fragments .* scripts/release changelog"):
        source.open_source(small, f"v{VERSION}")


def test_copy_with_another_version_is_refused(source: Any, small: Path) -> None:
    chart = small / "charts/podpass/Chart.yaml"
    chart.write_text(chart.read_text().replace("\nversion: 0.1.0", "\nversion: 0.0.9"))
    git(small, "commit", "--quiet", "--all", "--message=other")
    with pytest.raises(
        source.ReleaseRefused, match=r"charts/podpass/Chart.yaml has 0.0.9.*release version 0.1.0"
    ):
        source.open_source(small)


def test_new_version_is_written_everywhere(source: Any, small: Path) -> None:
    before = {name: (small / name).read_text() for name in source.COPIES}
    changed = source.write_version(small, "1.2.3rc4")
    assert source.read_version(small) == "1.2.3rc4"
    assert not source.other_versions(small, "1.2.3rc4")
    assert changed == ["src/podpass/__init__.py", *before]
    for name, text in before.items():
        assert (small / name).read_text().replace("1.2.3rc4", VERSION) == text


def test_every_copy_of_the_version_is_checked(source: Any) -> None:
    assert not source.other_versions(ROOT, podpass.__version__)
    paths = [*ROOT.glob("*.y*ml")]
    for folder in ("charts", "deploy", "docs/develop", "docs/operate", "docs/migrate", "examples"):
        paths += (path for path in (ROOT / folder).rglob("*") if path.is_file())
    version = re.compile(rf"(?<![\d.]){re.escape(podpass.__version__)}\b")
    stated = {
        str(path.relative_to(ROOT))
        for path in paths
        if path.suffix != ".sum"
        and "__pycache__" not in path.parts
        and "node_modules" not in path.parts
        and version.search(path.read_text())
    }
    assert stated == set(source.COPIES)


def test_export_has_the_files_of_the_commit_with_fixed_modes(
    source: Any, small: Path, tmp_path: Path
) -> None:
    (small / ".git" / "info" / "exclude").write_text("ignored.txt\n")
    (small / "ignored.txt").write_text("not committed\n")
    (small / "CHANGELOG.md").chmod(0o600)
    source.export(source.open_source(small), tmp_path / "out")
    assert not (tmp_path / "out" / "ignored.txt").exists()
    file = tmp_path / "out" / "CHANGELOG.md"
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_mtime) == (0o644, 1767323045)


def test_folder_without_git_is_refused(source: Any, small: Path, tmp_path: Path) -> None:
    (small / ".git").rename(tmp_path / "gone")
    with pytest.raises(source.ReleaseRefused, match="a release is made from a git checkout"):
        source.open_source(small)
