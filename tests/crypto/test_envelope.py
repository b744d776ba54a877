"""Encryption of stored values, and the creation of the key file."""

import base64
import threading
from pathlib import Path

import pytest

from podpass import files
from podpass.crypto.envelope import InvalidSealingKey, Sealer

KEY = bytes(range(32))


def test_value_opens_only_with_its_key_and_context() -> None:
    sealed = Sealer(KEY).seal(b"value", "here")
    assert Sealer(KEY).open(sealed, "here") == b"value"
    assert b"value" not in sealed
    for sealer, place, text in (
        (Sealer(bytes(32)), "here", sealed),
        (Sealer(KEY), "there", sealed),
        (Sealer(KEY), "here", sealed[:-1]),
        (Sealer(KEY), "here", b""),
    ):
        with pytest.raises(InvalidSealingKey):
            sealer.open(text, place)


def test_same_value_is_sealed_differently_each_time() -> None:
    sealer = Sealer(KEY)
    assert sealer.seal(b"v", "p") != sealer.seal(b"v", "p")


@pytest.mark.parametrize("text", [KEY, base64.b64encode(KEY), base64.b64encode(KEY) + b"\n"])
def test_key_file_may_be_raw_or_base64(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "k").write_bytes(text)
    sealer = Sealer.from_file(tmp_path / "k", make=False)
    assert sealer.open(Sealer(KEY).seal(b"v", "p"), "p") == b"v"


@pytest.mark.parametrize(
    "text", [b"", KEY[:31], KEY + b"x", base64.b64encode(KEY[:31]), b"\xff" * 44]
)
def test_damaged_key_file_is_named_in_the_error(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "my.key").write_bytes(text)
    with pytest.raises(InvalidSealingKey, match=r"my\.key"):
        Sealer.from_file(tmp_path / "my.key", make=True)
    assert (tmp_path / "my.key").read_bytes() == text


def test_missing_key_file_is_created_only_on_request(tmp_path: Path) -> None:
    with pytest.raises(InvalidSealingKey, match=r"my\.key"):
        Sealer.from_file(tmp_path / "my.key", make=False)
    assert not (tmp_path / "my.key").exists()
    Sealer.from_file(tmp_path / "keys" / "my.key", make=True)
    assert (tmp_path / "keys" / "my.key").stat().st_mode & 0o777 == 0o600


def test_concurrent_creators_of_a_key_file_create_exactly_one(tmp_path: Path) -> None:
    path = tmp_path / "my.key"
    done: list[bool] = []
    starting = threading.Barrier(8)

    def make(number: int) -> None:
        starting.wait()
        done.append(files.create_private(path, bytes([number]) * 32))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 7 + [True]
    assert len(set(path.read_bytes())) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["my.key"]
