"""Folders and single files, and the exit code."""

import os
from pathlib import Path

import pytest

from podpass.migration.scan import scan
from podpass.migration.scan.folder import open_regular, walk
from podpass.migration.scan.limits import Budget
from podpass.migration.scan.model import LibraryFinding, LimitExceeded, Report, Result
from tests.migration.scan.images import metadata


def ignore_progress(*_: str) -> None:
    """Print nothing."""


def scanned(*paths: Path) -> Report:
    return scan.scan_paths("folder", paths, ignore_progress)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_folder_is_scanned_with_paths_relative_to_it(tmp_path: Path) -> None:
    write(tmp_path / "a/b.dist-info/METADATA", metadata("1.12.0"))
    write(tmp_path / "requirements.txt", b"adal==1.2\n")
    write(tmp_path / ".git/requirements.txt", b"adal==1.1\n")
    report = scanned(tmp_path)
    assert [(each.path, each.result) for each in report.findings] == [
        ("requirements.txt", Result.SIDECAR),
        ("a/b.dist-info/METADATA", Result.UPDATE),
    ]
    assert report.is_complete


def test_several_paths_are_one_target(tmp_path: Path) -> None:
    first = write(tmp_path / "a/requirements.txt", b"azure-identity>=1.0\n")
    write(tmp_path / "b/c.dist-info/METADATA", metadata("1.20.0"))
    report = scanned(first, tmp_path / "b")
    assert [each.version for each in report.findings] == ["1.20.0"]


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside/requirements.txt", b"adal==1.2\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "requirements.txt").symlink_to(outside)
    (inside / "folder").symlink_to(outside.parent)
    assert scanned(inside).findings == []
    assert open_regular(inside / "requirements.txt") is None


def test_pipe_and_missing_file_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "requirements.txt")
    report = scanned(tmp_path)
    assert (report.findings, report.is_complete) == ([], True)
    assert open_regular(tmp_path / "requirements.txt") is None
    assert open_regular(tmp_path / "gone") is None


def test_other_file_systems_are_not_entered() -> None:
    """/proc has files without end."""
    skipped: list[str] = []
    root = Path("/")
    if Path("/proc").stat().st_dev == root.stat().st_dev:
        pytest.skip("/proc is not a file system of its own")
    for path in walk(root, Budget(), skipped):
        assert not path.startswith("proc/")
        if path > "proc" and skipped:
            break
    assert "proc" in skipped


def test_total_length_of_file_names_in_a_folder_is_limited(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / f"{number}", b"")
    with pytest.raises(LimitExceeded, match="names"):
        list(walk(tmp_path, Budget(names=50 * 60), []))
    assert len(list(walk(tmp_path, Budget(names=50 * 70), []))) == 50


def test_bytes_of_a_folder_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "requirements.txt", b"adal==1.2\n".ljust(2000))
    monkeypatch.setattr(scan, "Budget", lambda: Budget(total=1000))
    with pytest.raises(LimitExceeded, match="bytes"):
        scanned(tmp_path)


def test_large_file_makes_the_report_incomplete(tmp_path: Path) -> None:
    write(tmp_path / "package-lock.json", b"{}".ljust(5_000_000))
    report = scanned(tmp_path)
    assert report.notes == ["package-lock.json: not read, because it has more than 4 MiB"]
    assert scan.exit_code([report]) == 4


def test_notes_are_limited(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / f"{number}/package.json", b"x")
    report = scanned(tmp_path)
    assert len(report.notes) == 21
    assert report.notes[-1] == "more files were not read"


def test_missing_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(scan.TargetMissing, match="does not exist"):
        scanned(tmp_path / "gone")


@pytest.mark.parametrize(
    ("results", "is_complete", "code"),
    [
        ([], True, 0),
        ([Result.NONE], True, 0),
        ([Result.NONE], False, 4),
        ([Result.CHECK, Result.NONE], True, 4),
        ([Result.NONE, Result.UPDATE], True, 3),
        ([Result.SIDECAR], False, 3),
    ],
)
def test_exit_code_follows_the_largest_step(
    results: list[Result], is_complete: bool, code: int
) -> None:
    findings = [
        LibraryFinding(
            ecosystem="python",
            library="x",
            version="1",
            path="p",
            result=each,
            minimum="",
            reason="",
        )
        for each in results
    ]
    report = Report(target="t", findings=findings, is_complete=is_complete)
    assert scan.exit_code([report]) == code
    assert scan.exit_code([Report(target="u"), report]) == code


def test_undecided_target_decides_the_exit_code_next_to_a_target_without_steps() -> None:
    undecided = Report(target="u", is_complete=False)
    assert scan.exit_code([undecided, Report(target="t")]) == 4
