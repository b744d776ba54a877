"""Fixtures: authorities in separate directories, always stopped after the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL

import pytest
import trustme

from tests.servers.authority.running import Authority

Make = Callable[[], Authority]


@pytest.fixture(scope="session")
def prepared_folder(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a directory with a database that has keys and one application; key generation is slow."""
    authority = Authority(folder=tmp_path_factory.mktemp("first"), ca=ca)
    authority.write_certificate()
    authority.add_test_data()
    authority.start(workers=1)
    assert authority.stop() == 0
    (authority.folder / "stderr").unlink()
    return authority.folder


@pytest.fixture
def authority(ca: trustme.CA, prepared_folder: Path, tmp_path: Path) -> Iterator[Authority]:
    with ExitStack() as stack:
        yield _copy_authority(stack, ca, prepared_folder, tmp_path)


@pytest.fixture(scope="module")
def shared(
    ca: trustme.CA, prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Authority]:
    """Provide an authority for a test module; it is not started yet."""
    with ExitStack() as stack:
        yield _copy_authority(stack, ca, prepared_folder, tmp_path_factory.mktemp("shared"))


def _copy_authority(stack: ExitStack, ca: trustme.CA, first: Path, folder: Path) -> Authority:
    for path in first.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    authority = Authority(folder=folder, ca=ca)
    stack.callback(authority.stop, SIGKILL)
    return authority
