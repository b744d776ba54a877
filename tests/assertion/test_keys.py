"""The issuer's keys: creation, rotation, withdrawal, durability."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from podpass.assertion.keys import KeyRing, KeyRingError
from podpass.crypto import jose


def test_first_start_creates_one_persistent_key(tmp_path: Path) -> None:
    ring = KeyRing.open(tmp_path / "deep" / "keys")
    again = KeyRing.open(tmp_path / "deep" / "keys")
    assert ring.active.key.key_size == 2048
    assert again.active.kid == ring.active.kid == jose.public_key_id(ring.active.key.public_key())
    assert [key.kid for key in again.public] == [ring.active.kid]


def test_key_files_are_accessible_to_owner_only(tmp_path: Path) -> None:
    KeyRing.open(tmp_path / "keys")
    (file,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_new_key_signs_and_old_key_stays_published(ring: KeyRing, folder: Path) -> None:
    old = ring.active
    new = ring.rotate()
    assert ring.active.kid == new.kid != old.kid
    assert [key.kid for key in ring.public] == [new.kid, old.kid]
    assert [key.kid for key in KeyRing.open(folder).public] == [new.kid, old.kid]


def test_withdrawn_key_is_deleted_permanently(ring: KeyRing, folder: Path) -> None:
    old = ring.active.kid
    ring.rotate()
    ring.retire(old)
    assert [key.kid for key in ring.public] == [ring.active.kid]
    assert [key.kid for key in KeyRing.open(folder).public] == [ring.active.kid]


def test_number_of_a_withdrawn_key_is_not_reused(ring: KeyRing, folder: Path) -> None:
    first = ring.active.kid
    ring.rotate()
    ring.retire(first)
    third = ring.rotate()
    assert KeyRing.open(folder).active.kid == third.kid


def test_active_or_unknown_key_cannot_be_withdrawn(ring: KeyRing) -> None:
    for kid in (ring.active.kid, "strange"):
        with pytest.raises(KeyRingError) as caught:
            ring.retire(kid)
        assert caught.value.facts["kid"] == kid


@pytest.mark.parametrize(
    ("name", "data"), [("000002.pem", b"x"), ("mine.pem", b""), ("000002.pem", b"")]
)
def test_invalid_key_file_is_named_in_the_error(
    ring: KeyRing, folder: Path, name: str, data: bytes
) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(KeyRingError, match=name) as caught:
        KeyRing.open(folder)
    assert "move the file" in caught.value.hint
    del ring


def test_partial_file_of_an_interrupted_write_is_ignored(ring: KeyRing, folder: Path) -> None:
    (folder / ".000002.pem.part").write_bytes(b"-----BEGIN")
    assert KeyRing.open(folder).active.kid == ring.active.kid
    ring.rotate()
    assert len(KeyRing.open(folder).public) == 2


def test_repr_of_keys_contains_no_private_key(ring: KeyRing) -> None:
    assert "PRIVATE" not in repr((ring.active, ring.public))


ROTATE = """
import sys
from pathlib import Path
from podpass.assertion.keys import KeyRing
ring = KeyRing.open(Path(sys.argv[1]))
while True:
    print(ring.rotate().kid, flush=True)
"""


def test_acknowledged_key_survives_sigkill(folder: Path) -> None:
    for delay in (0.0, 0.03, 0.11):
        with subprocess.Popen(
            [sys.executable, "-c", ROTATE, folder], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            output = [process.stdout.readline().strip()]
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            output += process.stdout.read().split()
        # The last line may be incomplete; the lines before it are complete.
        kept = {key.kid for key in KeyRing.open(folder).public}
        assert set(output[:-1]) | {output[0]} <= kept
