"""What runs for an image."""

import json
from pathlib import Path

import pytest

from podpass.tools.local.runtime.images import (
    ImagesDamaged,
    ImageUnknown,
    base_name,
    find,
    read,
)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.27", "nginx"),
        ("docker.io/library/nginx:1", "nginx"),
        ("localhost:5000/team/app", "localhost:5000/team/app"),
        ("localhost:5000/team/app:v1@sha256:00", "localhost:5000/team/app"),
        ("docker.io/me/app", "me/app"),
    ],
)
def test_tags_and_digests_do_not_count(image: str, name: str) -> None:
    assert base_name(image) == name


def test_the_instance_s_list_wins_over_what_is_built_in(tmp_path: Path) -> None:
    file = tmp_path / "images.json"
    assert find("busybox:1", file, "Always") == ("sh",)
    file.write_text(json.dumps({"busybox": ["ls"], "me/app:v1": ["run", "it"]}))
    assert find("busybox", file, "Always") == ("ls",)
    assert find("me/app:v2", file, "Always") == ("run", "it")


@pytest.mark.parametrize(
    ("policy", "reason"), [("Never", "ErrImageNeverPull"), ("IfNotPresent", "ImageUnknown")]
)
def test_an_unknown_image_says_what_to_do(tmp_path: Path, policy: str, reason: str) -> None:
    with pytest.raises(ImageUnknown) as caught:
        find("me/app:v1", tmp_path / "images.json", policy)
    assert caught.value.reason == reason
    assert "podpass image add me/app -- COMMAND ARGS..." in caught.value.message


@pytest.mark.parametrize("text", ["[", "[]", '{"a": 1}'])
def test_a_damaged_list_counts_as_empty(tmp_path: Path, text: str) -> None:
    file = tmp_path / "images.json"
    file.write_text(text)
    with pytest.raises(ImageUnknown):
        find("a", file, "Always")


def test_a_damaged_list_is_told_to_whoever_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "images.json"
    assert read(file) == {}
    file.write_text("[]")
    with pytest.raises(ImagesDamaged) as caught:
        read(file)
    assert "add the images again" in caught.value.hint
