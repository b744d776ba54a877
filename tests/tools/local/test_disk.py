"""A disk that does not take a file is told as such, other faults are not."""

import errno

import pytest

from podpass.tools.local.disk import DiskUnfit, telling


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk is full: /d/f"), (errno.EROFS, "the disk is read-only: /d/f")],
)
def test_a_disk_that_does_not_take_a_file_is_told_with_what_to_do(number: int, said: str) -> None:
    with pytest.raises(DiskUnfit) as caught, telling():
        raise OSError(number, "text of the system", "/d/f")
    assert caught.value.message == said
    assert "--data-dir" in caught.value.hint


def test_other_faults_pass_as_they_are() -> None:
    with pytest.raises(FileNotFoundError), telling():
        raise FileNotFoundError(errno.ENOENT, "gone")
