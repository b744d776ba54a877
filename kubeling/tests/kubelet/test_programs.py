"""The search for the program of a container."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from kubeling.kubelet.prepared_container import find_program, locate_program, search_path


def test_search_path_begins_with_the_folder_of_this_python() -> None:
    assert search_path("/a:/b") == os.pathsep.join([str(Path(sys.executable).parent), "/a:/b"])


@pytest.mark.parametrize("program", ["sh", "/no/such/folder/sh"])
def test_program_is_found_by_its_base_name(program: str) -> None:
    assert find_program(program, os.defpath) == shutil.which("sh", path=os.defpath)


def test_existing_or_relative_path_is_not_changed(tmp_path: Path) -> None:
    assert find_program(sys.executable, "") == sys.executable
    assert find_program("./start.sh", str(tmp_path)) == "./start.sh"


def test_python_is_always_found_and_other_programs_may_be_missing(tmp_path: Path) -> None:
    assert find_program("/usr/local/bin/python3", str(tmp_path)) == sys.executable
    assert find_program("no-such-program", str(tmp_path)) is None


@pytest.mark.parametrize(
    ("workdir", "found"), [("", shutil.which("sh", path=os.defpath)), ("/data", "./sh")]
)
def test_relative_path_is_in_the_image_unless_workingdir_is_set(workdir: str, found: str) -> None:
    """The working folder of the image exists only in the image: `./podinfo` is searched on PATH."""
    assert locate_program("./sh", os.defpath, (), workdir) == found
