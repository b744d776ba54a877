"""Images of several machines become one index; a chart becomes what Helm pulls from a registry."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def oci(load: Callable[[str], Any]) -> Any:
    return load("oci")


def _image(oci: Any, file: Path, architecture: str) -> Path:
    """Write a layout of one image, as scripts/image.py does."""
    blobs: dict[str, bytes] = {}
    config = {"architecture": architecture, "os": "linux", "rootfs": {"diff_ids": []}}
    manifest = {
        "config": oci._add(blobs, "application/vnd.oci.image.config.v1+json", config),
        "layers": [oci._add_blob(blobs, "application/vnd.oci.image.layer.v1.tar+gzip", b"layer")],
    }
    entry = oci._add(blobs, oci.MANIFEST, manifest)
    file.write_bytes(oci._layout(entry, blobs))
    return file


def test_images_of_two_machines_are_joined_in_one_index(oci: Any, tmp_path: Path) -> None:
    files = [_image(oci, tmp_path / name, name) for name in ("arm64", "amd64")]
    joined = tmp_path / "joined.tar"
    joined.write_bytes(oci.join_images(files, "podpass", "1.2.3"))
    layout = oci.read_layout(joined)
    (entry,) = layout.entries
    assert entry["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert entry["annotations"] == {
        "io.containerd.image.name": "docker.io/library/podpass:1.2.3",
        "org.opencontainers.image.ref.name": "1.2.3",
    }
    found = layout.read(entry["digest"])["manifests"]
    assert [one["platform"]["architecture"] for one in found] == ["amd64", "arm64"]
    for one in found:
        config = layout.read(layout.read(one["digest"])["config"]["digest"])
        assert config["architecture"] == one["platform"]["architecture"]
        assert one["size"] == len(layout.blobs[one["digest"]])
    # The layer of both is stored once.
    assert len(layout.blobs) == 6
    assert oci.join_images(files[::-1], "podpass", "1.2.3") == joined.read_bytes()


def test_two_images_of_one_platform_are_refused(oci: Any, tmp_path: Path) -> None:
    files = [_image(oci, tmp_path / name, "arm64") for name in ("one", "two")]
    with pytest.raises(oci.InvalidImageLayout, match="two files have an image for linux/arm64"):
        oci.join_images(files, "podpass", "1.2.3")


def test_layout_with_a_changed_blob_is_refused(oci: Any, tmp_path: Path) -> None:
    file = _image(oci, tmp_path / "image", "amd64")
    file.write_bytes(file.read_bytes().replace(b"layer\0", b"other\0"))
    with pytest.raises(oci.InvalidImageLayout, match="has another digest"):
        oci.read_layout(file)


def _package(*names: str, mtime: int = 1, owner: str = "someone") -> bytes:
    stream = io.BytesIO()
    chart = b"apiVersion: v2\nname: shop\nversion: 1.2.3\ndescription: A shop\n"
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.uname = len(chart), mtime, owner
            tar.addfile(entry, io.BytesIO(chart))
    return stream.getvalue()


_NAMES = ("shop/Chart.yaml", "shop/templates/a.yaml", "shop/charts/sub/Chart.yaml")


def test_chart_package_does_not_depend_on_file_order_time_or_owner(oci: Any) -> None:
    one = oci.normalize_package(_package(*_NAMES), 5)
    other = oci.normalize_package(_package(*_NAMES[::-1], mtime=9, owner="other"), 5)
    assert one == other
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(one))) as tar:
        assert tar.getnames() == sorted(_NAMES)
        assert {(entry.mtime, entry.uname, entry.mode) for entry in tar} == {(5, "", 0o644)}


def test_chart_is_an_artifact_with_the_media_types_of_helm(oci: Any, tmp_path: Path) -> None:
    package, file = oci.normalize_package(_package(*_NAMES), 5), tmp_path / "chart.tar"
    file.write_bytes(oci.chart_layout(package))
    layout = oci.read_layout(file)
    manifest = layout.read(layout.entries[0]["digest"])
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    assert json.loads(layout.blobs[manifest["config"]["digest"]])["version"] == "1.2.3"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    assert layout.blobs[layer["digest"]] == package
