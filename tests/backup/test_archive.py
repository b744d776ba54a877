"""A backup that is damaged, truncated, forged or of another version is refused, and nothing is changed."""

import asyncio
import gc
import gzip
import io
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from podpass import __version__
from podpass.backup import archive, model, restore
from podpass.backup.archive import Writer
from podpass.backup.model import InvalidBackupFile, Manifest, Store, Table
from tests.backup.sample_databases import back_up, fill, ignore_progress, restore_backup
from tests.database.stored_schemas import dump_lines

TENANTS = Table(columns=("id", "display_name"), rows=1)
ROW = b'["t","Contoso"]\n'
PART = "rows/directory/tenants/000001.jsonl"


def write_backup(
    path: Path,
    parts: list[tuple[str, bytes]],
    *,
    revision: str = "0001",
    store: str = "directory",
    table: Table = TENANTS,
) -> Path:
    """Write a backup with these parts, in the format of podpass."""
    with path.open("wb") as stream:
        writer = Writer(stream)
        for name, data in parts:
            writer.add(name, data)
        writer.finish(
            Manifest(
                podpass=__version__,
                created="2026-01-01T00:00:00+00:00",
                stores={store: Store(revision=revision, tables={"tenants": table})},
                parts=tuple(writer.parts),
            )
        )
    return path


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write a gzipped tar that podpass did not create."""
    with tarfile.open(path, "w:gz", format=tarfile.USTAR_FORMAT) as made:
        for member, data in members:
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return path


def link(name: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return made


BEGIN = (tarfile.TarInfo(model.BEGIN), b"format 1\n")


async def test_valid_backup_is_checked_and_restored(tmp_path: Path) -> None:
    path = write_backup(tmp_path / "backup", [(PART, ROW)])
    assert archive.check(path).rows == {"tenants": 1}
    await restore_backup(f"sqlite:///{tmp_path}/new.db", path)
    with tarfile.open(path) as seen:
        assert seen.getnames() == [model.BEGIN, PART, model.MANIFEST]


def test_abandoned_backup_is_never_completed() -> None:
    """The garbage collector would complete a `GzipFile`."""
    stream = io.BytesIO()
    Writer(stream).add(PART, ROW)
    gc.collect()
    with pytest.raises(EOFError):
        gzip.decompress(stream.getvalue())


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a backup, and a database to restore it over, once; each test has copies."""

    async def create(folder: Path) -> None:
        source = f"sqlite:///{folder}/source.db"
        await fill(source, folder)
        await back_up(source, folder / "whole")
        await fill(f"sqlite:///{folder}/target.db", folder, identities=1)

    folder = tmp_path_factory.mktemp("samples")
    asyncio.run(create(folder))
    return folder


@pytest.fixture
def valid_backup(samples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(samples / "whole", tmp_path))


@pytest.fixture(autouse=True)
def _target(samples: Path, tmp_path: Path) -> None:
    """Put an existing database where `assert_refused` expects it."""
    shutil.copy(samples / "target.db", tmp_path)


async def assert_refused(tmp_path: Path, path: Path, match: str) -> InvalidBackupFile:
    """Check that a restore over an existing database is refused and changes nothing."""
    url = f"sqlite:///{tmp_path}/target.db"
    before = dump_lines(tmp_path / "target.db")
    with pytest.raises(InvalidBackupFile, match=match) as caught:
        await restore.restore_database(url, path, ignore_progress, replaces=True)
    assert caught.value.hint
    assert dump_lines(tmp_path / "target.db") == before
    return caught.value


async def test_truncated_file_is_refused_at_every_length(
    valid_backup: Path, tmp_path: Path
) -> None:
    data = valid_backup.read_bytes()
    cut = tmp_path / "cut"
    for length in [0, 1, 17, *range(100, len(data), len(data) // 12), len(data) - 1]:
        cut.write_bytes(data[:length])
        await assert_refused(tmp_path, cut, "cut is (damaged|truncated)")


async def test_file_with_one_changed_byte_is_refused_at_every_position(
    valid_backup: Path, tmp_path: Path
) -> None:
    data = valid_backup.read_bytes()
    wrong = tmp_path / "wrong"
    for place in [*range(10, len(data), len(data) // 12), len(data) - 5]:
        wrong.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        await assert_refused(tmp_path, wrong, "wrong |manifest")


def replace_content(path: Path, old: bytes, new: bytes) -> Path:
    """Change the content and compress it again, so that the checksum of gzip is valid."""
    data = gzip.decompress(path.read_bytes())
    assert len(old) == len(new)
    assert old in data
    path.write_bytes(gzip.compress(data.replace(old, new, 1)))
    return path


async def test_changed_row_is_found_by_its_digest(valid_backup: Path, tmp_path: Path) -> None:
    await assert_refused(
        tmp_path, replace_content(valid_backup, b"application", b"Application"), "is damaged: rows/"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.write_bytes(b""), "damaged, truncated, or not a backup"),
        (lambda p: p.write_text("hello"), "damaged, truncated, or not a backup"),
        (lambda p: p.write_bytes(gzip.compress(b"")), "truncated"),
        (lambda p: p.write_bytes(gzip.compress(b"x" * 5000)), "not a backup"),
        (lambda p: p.write_bytes(gzip.compress(bytes(10_240))), "not a backup of podpass"),
        (lambda p: write_tar(p, (tarfile.TarInfo("etc/passwd"), b"x")), "not a backup of podpass"),
        (
            lambda p: write_tar(p, (tarfile.TarInfo(model.BEGIN), b"format 2\n")),
            "another backup format than 1",
        ),
        (lambda p: write_tar(p, BEGIN), "it has no manifest"),
        (
            lambda p: write_tar(p, BEGIN, (tarfile.TarInfo(model.MANIFEST), b"{}")),
            "manifest cannot",
        ),
        (lambda p: write_tar(p, BEGIN, (tarfile.TarInfo(model.MANIFEST), b"[")), "manifest cannot"),
        (lambda p: write_tar(p, BEGIN, (link(PART), b"")), "an unknown part"),
        (lambda p: write_tar(p, BEGIN, (link(model.MANIFEST), b"")), "an unknown part"),
        (lambda p: write_backup(p, [("rows/directory/../x/000001.jsonl", ROW)]), "an unknown part"),
        (lambda p: write_backup(p, [("/etc/cron.d/000001", b"x")]), "an unknown part"),
        (lambda p: write_backup(p, [("files/../../x/000001", b"x")]), "an unknown part"),
        (lambda p: write_backup(p, [("files/a/../x/000001", b"x")]), "an unknown part"),
        (lambda p: write_backup(p, [("files//x/000001", b"x")]), "an unknown part"),
        (lambda p: write_backup(p, []), "row counts differ"),
        (lambda p: write_backup(p, [(PART, ROW), (PART, ROW)]), "row counts differ"),
        (lambda p: write_backup(p, [(PART, b"{}\n")]), "a row of the backup cannot be read"),
        (lambda p: write_backup(p, [(PART, b'["t"]\n')]), "a row of the backup cannot be read"),
        (
            lambda p: write_backup(p, [(PART, b'["t",["x"]]\n')]),
            "a row of the backup cannot be read",
        ),
        (lambda p: write_backup(p, [(PART, ROW)], revision="0099"), "of a newer podpass"),
        (
            lambda p: write_backup(p, [], store="console", table=Table(columns=(), rows=0)),
            "newer podpass",
        ),
        (
            lambda p: write_backup(p, [(PART, ROW)], table=Table(columns=("id", "bogus"), rows=1)),
            "does not match its schema",
        ),
        (
            lambda p: write_backup(
                p, [(PART, ROW * 2)], table=Table(columns=TENANTS.columns, rows=2)
            ),
            "rejects rows of the backup",
        ),
    ],
)
async def test_invalid_backup_is_refused(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    change(tmp_path / "file")
    await assert_refused(tmp_path, tmp_path / "file", message)


async def test_part_with_a_huge_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo(PART)
    member.size = 10**10
    header = tarfile.TarInfo(model.BEGIN)
    header.size = 9
    begin = header.tobuf(tarfile.USTAR_FORMAT) + b"format 1\n".ljust(512, b"\0")
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(begin + member.tobuf(tarfile.GNU_FORMAT) + bytes(5000)))
    await assert_refused(tmp_path, path, "an unknown part")


async def test_file_that_expands_to_hundreds_of_times_its_size_is_refused(tmp_path: Path) -> None:
    """Eleven megabytes of zeros would fill the disk with gigabytes."""
    zeros = bytes(archive.PART_BYTES)
    parts = [(f"files/kubernetes.db/{n:06d}", zeros) for n in range(1, 80)]
    path = write_backup(tmp_path / "file", parts)
    assert path.stat().st_size < 1_000_000
    await assert_refused(tmp_path, path, "expands to more than 100 times its size")


async def test_manifest_over_four_megabytes_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    manifest = tarfile.TarInfo(model.MANIFEST)
    path = write_tar(tmp_path / "file", BEGIN, (manifest, b"[" * (4 * archive.PART_BYTES + 1)))
    await assert_refused(tmp_path, path, "an unknown part")


async def test_part_with_millions_of_rows_is_refused_with_little_memory(tmp_path: Path) -> None:
    rows = b'["t","a"]\n' + b"[]\n" * 1_000_000
    table = Table(columns=("id", "display_name"), rows=1_000_001)
    path = write_backup(tmp_path / "file", [(PART, rows)], table=table)
    archive.check(path)
    tracemalloc.start()
    try:
        await assert_refused(tmp_path, path, "a row of the backup cannot be read")
        assert tracemalloc.get_traced_memory()[1] < 4 * len(rows)
    finally:
        tracemalloc.stop()


async def test_data_after_the_manifest_is_refused(tmp_path: Path) -> None:
    path = write_backup(tmp_path / "file", [(PART, ROW)])
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data[:-1024] + data[:1024] + bytes(1024)))
    await assert_refused(tmp_path, path, "has data after its manifest")
    path.write_bytes(gzip.compress(data + b"x"))
    await assert_refused(tmp_path, path, "has data after its end")


async def test_file_that_changes_between_check_and_restore_is_refused(tmp_path: Path) -> None:
    path = write_backup(tmp_path / "file", [(PART, ROW)])
    manifest = archive.check(path)
    write_backup(path, [(PART, b'["u","Evil"]\n')])
    with pytest.raises(InvalidBackupFile, match="changed while it was read"):
        list(archive.read_parts(path, manifest))


def test_manifest_round_trip() -> None:
    manifest = Manifest(
        podpass="1",
        created="now",
        stores={"directory": Store(revision="0001", tables={"tenants": TENANTS})},
        parts=(model.Part(name=PART, size=1, sha256="x"),),
        sealing={"keys/vault.key": "f"},
        instance={"tenant_id": "t"},
    )
    assert model.parse_manifest(orjson.dumps(model.to_json(manifest))) == manifest
