"""Where a container's program is looked for."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from podpass.kubernetes.kubelet.programs import find, search_path


def test_this_pythons_folder_comes_before_the_path() -> None:
    assert search_path("/a:/b") == os.pathsep.join([str(Path(sys.executable).parent), "/a:/b"])


@pytest.mark.parametrize("program", ["sh", "/no/such/folder/sh"])
def test_a_program_is_found_by_its_last_part(program: str) -> None:
    assert find(program, os.defpath) == shutil.which("sh", path=os.defpath)


def test_a_path_that_is_there_or_is_relative_stays(tmp_path: Path) -> None:
    assert find(sys.executable, "") == sys.executable
    assert find("./start.sh", str(tmp_path)) == "./start.sh"


def test_python_is_always_there_and_other_programs_need_not_be(tmp_path: Path) -> None:
    assert find("/usr/local/bin/python3", str(tmp_path)) == sys.executable
    assert find("no-such-program", str(tmp_path)) is None
