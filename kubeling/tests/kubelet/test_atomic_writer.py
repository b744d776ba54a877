"""The files of a volume are replaced atomically and stay inside the volume."""

from pathlib import Path

import pytest

from kubeling.kubelet.atomic_writer import FileProjection, UnsafePath, write


def content(text: str, mode: int = 0o644) -> FileProjection:
    return FileProjection(data=text.encode(), mode=mode)


def test_files_are_links_through_the_data_link(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert write(folder, {"a": content("1"), "deep/b": content("2", 0o400)})
    assert (folder / "a").read_text() == "1"
    assert (folder / "deep" / "b").read_text() == "2"
    assert (folder / "deep" / "b").stat().st_mode & 0o777 == 0o400
    assert (folder / "a").readlink() == Path("..data/a")
    assert (folder / "..data").is_symlink()


def test_update_replaces_all_files_at_once(tmp_path: Path) -> None:
    write(tmp_path / "v", {"a": content("1"), "b": content("1")})
    folder = tmp_path / "v"
    before = (folder / "..data").resolve()
    opened = (folder / "a").open()
    assert write(folder, {"a": content("2"), "c": content("2")})
    assert {path.name for path in folder.iterdir() if not path.name.startswith("..")} == {"a", "c"}
    assert (folder / "a").read_text() == "2"
    assert not before.exists()
    assert opened.read() == "1", "a reader with the open file reads the old content"
    opened.close()


def test_equal_content_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path, {"a": content("1")})
    before = (tmp_path / "..data").readlink()
    assert not write(tmp_path, {"a": content("1")})
    assert (tmp_path / "..data").readlink() == before
    assert write(tmp_path, {"a": content("1", 0o600)}), "the mode is compared too"


def test_volume_may_be_empty(tmp_path: Path) -> None:
    assert write(tmp_path / "v", {})
    assert not write(tmp_path / "v", {})


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "..data", "..x/y", ""])
def test_path_outside_the_volume_is_refused(tmp_path: Path, path: str) -> None:
    """Fails without the check: an item of a ConfigMap could overwrite any file of the instance."""
    with pytest.raises(UnsafePath):
        write(tmp_path / "v", {path: content("x")})
    assert not (tmp_path / "v").exists()
    assert not (tmp_path / "a").exists()


def test_content_is_not_in_the_repr() -> None:
    assert "hush" not in repr(content("hush"))
