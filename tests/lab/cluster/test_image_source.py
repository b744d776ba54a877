"""The command that runs for an image."""

import json
import sys
from pathlib import Path

import pytest
from kubeling.kubelet.images import ImageConfig

from podpass.lab.cluster.image_source import (
    ImagesDamaged,
    ImageUnknown,
    InstanceImages,
    SampleNotReady,
    base_name,
    read_images,
)
from podpass.lab.cluster.samples.cache import SampleCache

GO = "ghcr.io/azure/azure-workload-identity/msal-go"


@pytest.fixture
def images(tmp_path: Path) -> InstanceImages:
    """Return an instance without images, on a machine that has no tools and no built sample."""
    return InstanceImages(tmp_path / "images.json", SampleCache(tmp_path / "cache", str(tmp_path)))


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
def test_base_name_has_no_tag_and_no_digest(image: str, name: str) -> None:
    assert base_name(image) == name


def test_added_image_replaces_a_built_in_image_and_a_sample(images: InstanceImages) -> None:
    assert images.resolve("busybox:1", "Always") == ImageConfig(command=("sh",))
    images.images_file.write_text(
        json.dumps({"busybox": ["ls"], "me/app:v1": {"command": ["run", "it"]}, GO: ["mine"]})
    )
    assert images.resolve("busybox", "Always") == ImageConfig(entrypoint=("ls",))
    assert images.resolve(f"{GO}:v1.6.0", "Always") == ImageConfig(entrypoint=("mine",))
    assert images.resolve("me/app:v2", "Always") == ImageConfig(command=("run", "it"))


@pytest.mark.parametrize(
    ("policy", "reason"), [("Never", "ErrImageNeverPull"), ("IfNotPresent", "ImageUnknown")]
)
def test_unknown_image_names_the_command_that_adds_it(
    images: InstanceImages, policy: str, reason: str
) -> None:
    with pytest.raises(ImageUnknown) as caught:
        images.resolve("me/app:v1", policy)
    assert caught.value.reason == reason
    assert "podpass image add me/app -- COMMAND ARGS..." in caught.value.message


@pytest.mark.parametrize("tag", ["", ":latest", ":v1.6.0@sha256:00"])
def test_sample_without_its_toolchain_names_what_to_install(
    images: InstanceImages, tag: str
) -> None:
    with pytest.raises(SampleNotReady) as caught:
        images.resolve(GO + tag, "IfNotPresent")
    assert caught.value.reason == "SampleNotReady"
    assert "go is not on the PATH" in caught.value.message
    assert caught.value.message.endswith("To start the container: install Go 1.23 or newer")


def test_rabbitmq_image_of_the_tutorial_runs_sleep(images: InstanceImages) -> None:
    image = "mcr.microsoft.com/mirror/docker/library/rabbitmq:3.10-management-alpine"
    assert images.resolve(image, "") == ImageConfig(command=("sleep", "infinity"))


@pytest.mark.parametrize("folder", ["podpass-", "mcr.microsoft.com/oss/azure/workload-identity/"])
def test_images_of_the_sidecar_run_this_installation(images: InstanceImages, folder: str) -> None:
    sidecar = images.resolve(f"{folder}proxy:v1.6.0", "IfNotPresent")
    assert sidecar.entrypoint == (sys.executable, "-m", "podpass.cli", "proxy")
    # The command of the webhook's postStart hook.
    assert sidecar.programs == {"/proxy": sidecar.entrypoint}
    init = images.resolve(f"{folder}proxy-init:v1.1.0", "IfNotPresent")
    assert init.entrypoint[-1] == "proxy-init"


@pytest.mark.parametrize("text", ["[", "[]", '{"a": 1}'])
def test_damaged_list_counts_as_empty(images: InstanceImages, text: str) -> None:
    images.images_file.write_text(text)
    with pytest.raises(ImageUnknown):
        images.resolve("a", "Always")


def test_read_of_a_damaged_list_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "images.json"
    assert read_images(file) == {}
    file.write_text("[]")
    with pytest.raises(ImagesDamaged) as caught:
        read_images(file)
    assert "add the images again" in caught.value.hint
