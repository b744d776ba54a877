"""What runs for an image."""

import json
from pathlib import Path

import pytest

from podpass.kubernetes.kubelet.images import (
    ImagesDamaged,
    ImageUnknown,
    SampleNotReady,
    base_name,
    find,
    read,
)
from podpass.local.samples.cache import SampleCache

GO = "ghcr.io/azure/azure-workload-identity/msal-go"


@pytest.fixture
def samples(tmp_path: Path) -> SampleCache:
    """A machine with no tools, where nothing was built."""
    return SampleCache(tmp_path / "cache", str(tmp_path))


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


def test_the_instance_s_list_wins_over_what_is_built_in(
    tmp_path: Path, samples: SampleCache
) -> None:
    file = tmp_path / "images.json"
    assert find("busybox:1", file, "Always", samples) == ("sh",)
    file.write_text(json.dumps({"busybox": ["ls"], "me/app:v1": ["run", "it"], GO: ["mine"]}))
    assert find("busybox", file, "Always", samples) == ("ls",)
    assert find(f"{GO}:v1.6.0", file, "Always", samples) == ("mine",)
    assert find("me/app:v2", file, "Always", samples) == ("run", "it")


@pytest.mark.parametrize(
    ("policy", "reason"), [("Never", "ErrImageNeverPull"), ("IfNotPresent", "ImageUnknown")]
)
def test_an_unknown_image_says_what_to_do(
    tmp_path: Path, samples: SampleCache, policy: str, reason: str
) -> None:
    with pytest.raises(ImageUnknown) as caught:
        find("me/app:v1", tmp_path / "images.json", policy, samples)
    assert caught.value.reason == reason
    assert "podpass image add me/app -- COMMAND ARGS..." in caught.value.message


@pytest.mark.parametrize("tag", ["", ":latest", ":v1.6.0@sha256:00"])
def test_a_sample_that_is_not_built_says_how_to_build_it(
    tmp_path: Path, samples: SampleCache, tag: str
) -> None:
    with pytest.raises(SampleNotReady) as caught:
        find(GO + tag, tmp_path / "images.json", "IfNotPresent", samples)
    assert caught.value.reason == "SampleNotReady"
    assert "go is not on the PATH" in caught.value.message
    assert caught.value.message.endswith("then: podpass image prepare msal-go")


def test_the_tutorials_first_pod_only_has_to_run(tmp_path: Path, samples: SampleCache) -> None:
    image = "mcr.microsoft.com/mirror/docker/library/rabbitmq:3.10-management-alpine"
    assert find(image, tmp_path / "images.json", "", samples) == ("sleep", "infinity")


@pytest.mark.parametrize("text", ["[", "[]", '{"a": 1}'])
def test_a_damaged_list_counts_as_empty(tmp_path: Path, samples: SampleCache, text: str) -> None:
    file = tmp_path / "images.json"
    file.write_text(text)
    with pytest.raises(ImageUnknown):
        find("a", file, "Always", samples)


def test_a_damaged_list_is_told_to_whoever_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "images.json"
    assert read(file) == {}
    file.write_text("[]")
    with pytest.raises(ImagesDamaged) as caught:
        read(file)
    assert "add the images again" in caught.value.hint
