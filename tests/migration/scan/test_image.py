"""Images: the formats, what a layer hides, and archives that are made to exhaust memory or time."""

import gzip
import io
import json
import os
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from podpass.migration.scan import image, limits, scan
from podpass.migration.scan.image import ImageFile, NotAnImage
from podpass.migration.scan.limits import Budget
from podpass.migration.scan.model import LimitExceeded, Report, Result, ScanFailed
from podpass.migration.scan.tar_stream import InvalidArchive, read_entries
from tests.migration.scan.images import (
    METADATA,
    docker_archive,
    layer,
    metadata,
    oci_archive,
    oci_layout,
    special,
)

OLD, NEW = layer({METADATA: metadata("1.12.0")}), layer({METADATA: metadata("1.20.0")})
LAYOUTS: dict[str, Callable[[Path, bytes], Path]] = {
    "docker": lambda folder, made: docker_archive(folder / "image.tar", made),
    "docker-gzip-layer": lambda folder, made: docker_archive(folder / "i.tar", gzip.compress(made)),
    "oci": lambda folder, made: oci_layout(folder / "layout", made),
    "oci-plain": lambda folder, made: oci_layout(folder / "layout", made, compress=False),
    "oci-nested": lambda folder, made: oci_layout(folder / "layout", made, nested=True),
    "oci-archive": lambda folder, made: oci_archive(
        folder / "image.tar", oci_layout(folder / "layout", made)
    ),
}


def ignore_progress(*_: str) -> None:
    """Print nothing."""


def scanned(path: Path) -> Report:
    return scan.scan_paths("image", [path], ignore_progress)


def versions(report: Report) -> list[str]:
    return [each.version for each in report.findings]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_image_of_every_format_is_read(tmp_path: Path, layout: str) -> None:
    report = scanned(LAYOUTS[layout](tmp_path, OLD))
    assert [(each.library, each.version, each.path) for each in report.findings] == [
        ("azure-identity", "1.12.0", METADATA)
    ]
    assert report.result is Result.UPDATE
    assert (report.is_complete, report.notes) == (True, [])


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_paths_of_every_tar_format_are_read(tmp_path: Path, form: int) -> None:
    path = f"{'a' * 90}/{'b' * 40}/azure_identity.dist-info/METADATA"
    content = metadata("1.12.0")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        info = tarfile.TarInfo(f"./{path}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    [finding] = scanned(docker_archive(tmp_path / "i.tar", made.getvalue())).findings
    assert finding.path == path


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        (NEW, ["1.20.0"]),
        (layer({}), ["1.12.0"]),
        (layer({METADATA.replace("METADATA", ".wh.METADATA"): b""}), []),
        (layer({"usr/lib/.wh.python3.11": b""}), []),
        (layer({"usr/lib/python3.11/.wh..wh..opq": b""}), []),
        (layer({".wh..wh..opq": b""}), []),
        (layer({}, special("usr/lib", tarfile.SYMTYPE, "x")), []),
        (layer({}, special(METADATA, tarfile.SYMTYPE, "x")), []),
        (layer({}, special("usr/lib", tarfile.DIRTYPE)), ["1.12.0"]),
        (layer({"usr/lib/python3.11/.wh..wh..opq": b"", METADATA: metadata("1.20.0")}), ["1.20.0"]),
        (layer({"usr/li/.wh..wh..opq": b"", "usr/.wh.li": b""}), ["1.12.0"]),
    ],
    ids=[
        *("replaced", "unchanged", "whiteout", "folder-whiteout", "opaque", "opaque-root"),
        *("folder-is-a-link", "file-is-a-link", "folder-again", "opaque-and-new", "other-folder"),
    ],
)
def test_upper_layer_hides_files_below(tmp_path: Path, upper: bytes, expected: list[str]) -> None:
    assert versions(scanned(docker_archive(tmp_path / "i.tar", OLD, upper))) == expected


def test_hidden_file_stays_hidden_and_comes_back_with_a_later_layer(tmp_path: Path) -> None:
    gone = layer({"usr/.wh.lib": b""})
    assert versions(scanned(docker_archive(tmp_path / "a.tar", OLD, gone, layer({})))) == []
    assert versions(scanned(docker_archive(tmp_path / "b.tar", OLD, gone, NEW))) == ["1.20.0"]


def test_links_devices_and_pipes_are_not_read(tmp_path: Path) -> None:
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
    made = [
        special(f"d{number}/METADATA", kind, "/etc/passwd") for number, kind in enumerate(kinds)
    ]
    report = scanned(docker_archive(tmp_path / "i.tar", layer({}, *made)))
    assert report.findings == []
    assert report.notes == ["2 files that could name a library are links and were not read"]


def test_layer_that_is_a_link_out_of_the_layout_is_not_followed(tmp_path: Path) -> None:
    folder = oci_layout(tmp_path / "layout", OLD, compress=False)
    blobs = folder / "blobs" / "sha256"
    (found,) = [each for each in blobs.iterdir() if METADATA.encode() in each.read_bytes()]
    found.rename(tmp_path / "outside")
    found.symlink_to(tmp_path / "outside")
    with pytest.raises(NotAnImage, match="missing"):
        scanned(folder)
    found.unlink()
    (tmp_path / "outside").rename(found)
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotAnImage, match="no image"):
        scanned(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "", "."])
def test_part_outside_the_layout_is_not_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("{}")
    folder = oci_layout(tmp_path / "layout", OLD)
    with ImageFile(folder, Budget()) as file, pytest.raises(NotAnImage, match="missing"):
        file.open_layer(name)


def test_pipe_in_a_layout_does_not_block(tmp_path: Path) -> None:
    folder = oci_layout(tmp_path / "layout", OLD)
    (folder / "manifest.json").unlink(missing_ok=True)
    os.mkfifo(folder / "manifest.json")
    assert versions(scanned(folder)) == ["1.12.0"]


def test_image_of_windows_gets_a_note(tmp_path: Path) -> None:
    report = scanned(docker_archive(tmp_path / "i.tar", OLD, system="windows"))
    assert report.notes == ["the image is for windows: the sidecar runs on Linux only"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no index.json"),
        (b"x" * 512, "invalid"),
        (b"x" * 100, "ends within a header"),
        (layer({"a": b"x"})[:700], "no index.json"),
        (gzip.compress(OLD), "is compressed"),
        (layer({"manifest.json": b"["}), "not valid JSON"),
        (layer({"manifest.json": b"[]"}), "no image"),
        (layer({"manifest.json": b'[{"Layers": ["gone"]}]'}), "'gone' is missing"),
        (layer({"index.json": b'{"manifests": [{"digest": "sha256:../../x"}]}'}), "no image"),
        (layer({"manifest.json": b'[{"Layers": ["z"]}]', "z": b"\x28\xb5\x2f\xfd"}), "zstd"),
        (layer({"manifest.json": b'[{"Layers": ["z"]}]', "z": b"\x1f\x8bxxxx"}), "not valid gzip"),
    ],
    ids=range(11),
)
def test_file_that_is_no_image_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(ScanFailed, match=message) as caught:
        scanned(path)
    assert caught.value.hint


# --------------------------------------------------------------------------------------------- limits


def test_path_of_more_than_4096_characters_is_not_read(tmp_path: Path) -> None:
    fits = "/".join(["a" * 200] * 19) + "/"
    fits += "b" * (4096 - len(fits) - len("/METADATA")) + "/METADATA"
    assert len(fits) == limits.MAX_PATH_CHARS
    assert versions(scanned(docker_archive(tmp_path / "a.tar", layer({fits: metadata("1.12.0")}))))
    report = scanned(docker_archive(tmp_path / "b.tar", layer({"a" + fits: metadata("1.12.0")})))
    assert report.findings == []
    assert not report.is_complete
    assert "path is too long" in report.notes[0]


def test_deep_path_is_not_read(tmp_path: Path) -> None:
    deep = "a/" * (limits.MAX_DEPTH + 1) + "METADATA"
    report = scanned(docker_archive(tmp_path / "i.tar", layer({deep: metadata("1.12.0")})))
    assert (report.findings, report.is_complete) == ([], False)


def test_total_length_of_archive_names_is_limited() -> None:
    content = layer({f"{'a' * 80}/{number}": b"" for number in range(100)})
    budget = Budget(names=100 * 200)
    assert len(list(read_entries(io.BytesIO(content), budget))) == 100
    with pytest.raises(LimitExceeded, match="names"):
        list(read_entries(io.BytesIO(content), Budget(names=100 * 100)))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_large_header_of_an_archive_is_refused_before_it_is_in_memory(kind: bytes) -> None:
    info = tarfile.TarInfo("h")
    info.type, info.size = kind, 1 << 40
    header = info.tobuf(tarfile.GNU_FORMAT)

    class Endless:
        count = 0

        def read(self, size: int = -1, /) -> bytes:
            if not self.count:
                self.count = len(header)
                return header
            self.count += size
            return bytes(size)

    stream = Endless()
    with pytest.raises(LimitExceeded, match="header"):
        list(read_entries(stream, Budget()))
    assert stream.count < 200_000


def test_endless_extended_headers_are_refused() -> None:
    info = tarfile.TarInfo("h")
    info.type, info.size = b"x", 0
    with pytest.raises(LimitExceeded, match="too many extended headers"):
        list(read_entries(io.BytesIO(info.tobuf() * 20), Budget()))


@pytest.mark.parametrize(
    "record",
    [
        *(b"0 path=a\n", b"99999999999 path=a\n", b"99 path=a\n", b"x"),
        *(b"-5 path=a\n", b"12 size=9x9\n"),
    ],
)
def test_invalid_extended_header_is_refused(record: bytes) -> None:
    info = tarfile.TarInfo("h")
    info.type, info.size = b"x", len(record)
    with pytest.raises(InvalidArchive):
        list(read_entries(io.BytesIO(info.tobuf() + record.ljust(512, b"\0")), Budget()))


def test_gzip_layer_with_an_extreme_ratio_is_refused(tmp_path: Path) -> None:
    zeros = gzip.compress(layer({"zeros": bytes(80 * limits.MIB)}), 9)
    with pytest.raises(LimitExceeded, match="200 times"):
        scanned(docker_archive(tmp_path / "i.tar", zeros))


def test_small_files_that_compress_well_are_read(tmp_path: Path) -> None:
    made = layer({"zeros": bytes(40 * limits.MIB), METADATA: metadata("1.12.0")})
    assert versions(scanned(docker_archive(tmp_path / "i.tar", gzip.compress(made)))) == ["1.12.0"]


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_total_size_of_all_layers_has_a_limit(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    made = compress(layer({"a": os.urandom(300_000)}))
    path = docker_archive(tmp_path / "i.tar", made, made)
    for total, is_refused in ((500_000, True), (700_000, False)):
        budget = Budget(total=total)
        with ImageFile(path, budget) as file:
            try:
                for name in file.images()[0].layers:
                    stream = file.open_layer(name)
                    list(read_entries(stream, budget))
            except LimitExceeded as exc:
                assert is_refused
                assert "bytes" in exc.message
            else:
                assert not is_refused


def test_manifest_of_more_than_4_mib_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(layer({"manifest.json": b"[]".ljust(limits.MAX_JSON_BYTES + 1)}))
    with pytest.raises(LimitExceeded, match="4 MiB"):
        scanned(path)


@pytest.mark.parametrize("value", [b"{}", b"[]", b"0", b'{"":0}'], ids=range(4))
def test_manifest_takes_limited_memory(tmp_path: Path, value: bytes) -> None:
    """Without a limit of the values, 4 MiB of JSON take 185 MB."""
    path = tmp_path / "image.tar"
    count = (limits.MAX_JSON_BYTES - 2) // (len(value) + 1)
    path.write_bytes(layer({"manifest.json": b"[" + b",".join([value] * count) + b"]"}))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match=r"manifest.json has more than 250000 values"):
            scanned(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * limits.MIB


def test_number_of_files_in_an_archive_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = docker_archive(tmp_path / "image.tar", OLD)  # three files
    monkeypatch.setattr(image, "MAX_PARTS", 3)
    assert versions(scanned(path)) == ["1.12.0"]
    monkeypatch.setattr(image, "MAX_PARTS", 2)
    with pytest.raises(LimitExceeded, match="more than 2 files"):
        scanned(path)


@pytest.mark.parametrize("name", ["a" * 256, "\U0001f600"], ids=["long", "wide"])
def test_invalid_image_name_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Names in an archive may take four bytes for each character."""
    monkeypatch.setattr(image, "MAX_PARTS", 1)
    path = tmp_path / "image.tar"
    path.write_bytes(layer({"manifest.json": b'[{"Layers": []}]', name: b"", f"{name}/x": b""}))
    assert scanned(path).findings == []


def test_number_of_layers_images_and_manifests_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    layers = '", "'.join("x" for _ in range(limits.MAX_LAYERS + 1))
    path.write_bytes(layer({"manifest.json": f'[{{"Layers": ["{layers}"]}}]'.encode()}))
    with pytest.raises(LimitExceeded, match="256 layers"):
        scanned(path)
    path.write_bytes(layer({"manifest.json": f"[{','.join(['{}'] * 65)}]".encode()}))
    with pytest.raises(LimitExceeded, match="64 images"):
        scanned(path)
    path.write_bytes(layer({"index.json": f'{{"manifests": [{",".join(["{}"] * 65)}]}}'.encode()}))
    with pytest.raises(LimitExceeded, match="64 manifests"):
        scanned(path)


def test_image_index_that_contains_itself_is_refused(tmp_path: Path) -> None:
    digest = "a" * 64
    loop = f'{{"manifests": [{{"digest": "sha256:{digest}"}}]}}'.encode()
    path = tmp_path / "image.tar"
    path.write_bytes(layer({"index.json": loop, f"blobs/sha256/{digest}": loop}))
    with pytest.raises(LimitExceeded, match="64 manifests"):
        scanned(path)


def test_number_of_findings_is_limited(tmp_path: Path) -> None:
    names = [f"{number}/requirements.txt" for number in range(limits.MAX_FINDINGS + 1)]
    path = docker_archive(tmp_path / "i.tar", layer(dict.fromkeys(names, b"adal==1.0")))
    with pytest.raises(LimitExceeded, match="more than 2000 files"):
        scanned(path)


def test_many_layers_that_change_deep_files_are_read_in_seconds(tmp_path: Path) -> None:
    """The work of a layer depends on the findings below it and their depth, both limited."""
    deep = "d/" * (limits.MAX_DEPTH - 1)
    files = {f"{deep}{number}.egg-info": metadata("1.12.0") for number in range(900)}
    upper = [layer({f"{deep}.wh.{number}.egg-info": b""}) for number in range(40)]
    began = time.monotonic()
    report = scanned(docker_archive(tmp_path / "i.tar", layer(files), *upper))
    assert len(report.findings) == 860
    assert time.monotonic() - began < 60


def test_truncated_layer_is_refused(tmp_path: Path) -> None:
    whole = layer({"a": bytes(10_000)})
    with pytest.raises(InvalidArchive, match="ends within"):
        scanned(docker_archive(tmp_path / "i.tar", whole[:4000]))


def raw_archive(path: Path, manifest: object, **parts: bytes) -> Path:
    path.write_bytes(layer({"manifest.json": json.dumps(manifest).encode(), **parts}))
    return path


@pytest.mark.parametrize("value", [5, {"a": 1}, "text", True])
def test_docker_manifest_with_values_of_other_types_has_no_layers(
    tmp_path: Path, value: object
) -> None:
    manifest = [{"Config": value, "RepoTags": value, "Layers": value}]
    assert scanned(raw_archive(tmp_path / "image.tar", manifest)).findings == []


def test_docker_manifest_is_counted_before_configurations_are_read(tmp_path: Path) -> None:
    manifest = [{"Config": "invalid"}] * 65
    with pytest.raises(LimitExceeded, match="64 images"):
        scanned(raw_archive(tmp_path / "image.tar", manifest, invalid=b"{"))


def test_error_with_a_name_of_the_image_has_no_control_character(tmp_path: Path) -> None:
    archive = raw_archive(tmp_path / "image.tar", [{"Config": "\x1b[31mc"}], **{"\x1b[31mc": b"{"})
    with pytest.raises(NotAnImage) as caught:
        scanned(archive)
    assert caught.value.message == "\\x1b[31mc is not valid JSON"


def test_empty_gzip_members_of_a_layer_count_against_the_size_limit(tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "image.tar", gzip.compress(b"") * 100 + gzip.compress(OLD))
    budget = Budget()
    with ImageFile(archive, budget) as file:
        stream = file.open_layer(file.images()[0].layers[0])
        while stream.read():
            pass
    assert Budget().total - budget.total >= 100 * 4096


def test_name_with_a_wide_character_counts_four_times_its_length() -> None:
    narrow, wide = Budget(), Budget()
    narrow.charge_name("a" * 1000)
    wide.charge_name("a" * 999 + "\U0001f600")
    assert Budget().names - narrow.names < 1200
    assert Budget().names - wide.names > 4000


def test_memory_for_many_deep_paths_is_bounded(tmp_path: Path) -> None:
    files = {
        f"{number:04}{'/' + 'a' * 30:s}"
        + ("/" + "b" * 30) * 119
        + "/requirements.txt": b"adal==1.0\n"
        for number in range(100)
    }
    archive = docker_archive(tmp_path / "image.tar", layer(files))
    tracemalloc.start()
    try:
        assert len(scanned(archive).findings) == 100
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 1024 * 1024
