"""The cache of built images, which all checkouts of a machine share."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node import images

_DAY = 24 * 3600


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "podpass" / "peers"


def _build(content: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "layer.tar").write_text(content)

    return build


def _not_built(_: Path) -> None:
    raise AssertionError("built again")


def _sources(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "test_images.py"]


HERE = Path(__file__).parent


def test_image_is_built_once_for_each_content_of_its_sources(folder: Path) -> None:
    first = images.cached("image", _sources(HERE), _build("first"))
    assert first.parent == folder
    assert images.cached("image", _sources(HERE), _not_built) == first
    other = images.cached("image", _sources(HERE)[1:], _build("other"))
    assert (first / "layer.tar").read_text() == "first"
    assert (other / "layer.tar").read_text() == "other"


def test_image_of_another_checkout_is_removed_after_days_without_use(folder: Path) -> None:
    """Each use counts, so an image that a checkout still uses stays."""
    used, unused = (folder / f"image-{name}" for name in ("used", "unused"))
    for path, days in ((used, 1), (unused, 3)):
        path.mkdir(parents=True)
        then = time.time() - days * _DAY
        os.utime(path, (then, then))
    own = images.cached("image", _sources(HERE), _build("own"))
    assert {*folder.glob("image-*")} == {used, own}


def test_image_that_another_run_has_built_at_the_same_time_is_used(folder: Path) -> None:
    def build(part: Path) -> None:
        own = images.cached("image", _sources(HERE), _build("another run"))
        assert own.parent == folder
        (part / "layer.tar").write_text("this run")

    found = images.cached("image", _sources(HERE), build)
    assert (found / "layer.tar").read_text() == "another run"
