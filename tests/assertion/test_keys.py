"""The issuer's keys: creation, rotation, withdrawal, durability."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from podpass import files
from podpass.assertion.keys import KeyRing, KeyRingError, RotationInProgress
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
    ("name", "data"),
    [("000002.pem", b"x"), ("mine.pem", b""), ("000002.pem", b""), ("000002.soon.pem", b"")],
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


class ManualClock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def timed(tmp_path: Path, clock: ManualClock) -> KeyRing:
    """Return a ring with one key and a clock that the test sets."""
    return KeyRing.open(tmp_path / "timed", clock)


def _published(ring: KeyRing) -> list[str | None]:
    return [key.kid for key in ring.public]


def _copy(ring: KeyRing, tmp_path: Path, clock: ManualClock) -> KeyRing:
    """Return the ring that the next start of the process reads."""
    del ring
    return KeyRing.open(tmp_path / "timed", clock)


def test_old_and_new_key_are_valid_for_24_hours(
    timed: KeyRing, clock: ManualClock, tmp_path: Path
) -> None:
    old = timed.active.kid
    new = timed.rotate().kid
    clock.now += DAY - 1
    assert _published(timed) == _published(_copy(timed, tmp_path, clock)) == [new, old]
    clock.now += 1
    assert _published(timed) == [new]
    assert _published(_copy(timed, tmp_path, clock)) == [new]
    assert len(list((tmp_path / "timed").iterdir())) == 1


def test_second_rotation_within_24_hours_withdraws_the_first_key(
    timed: KeyRing, clock: ManualClock, tmp_path: Path
) -> None:
    first = timed.active.kid
    second = timed.rotate().kid
    clock.now += HOUR
    third = timed.rotate().kid
    assert _published(timed) == _published(_copy(timed, tmp_path, clock)) == [third, second]
    assert first not in _published(timed)


def test_new_key_is_published_before_it_signs(
    timed: KeyRing, clock: ManualClock, tmp_path: Path
) -> None:
    old = timed.active.kid
    new = timed.rotate(publish_seconds=6).kid
    assert timed.active.kid == _copy(timed, tmp_path, clock).active.kid == old
    assert _published(timed) == [old, new]
    assert timed.pending_until == clock.now + 6
    clock.now += 6
    assert timed.active.kid == _copy(timed, tmp_path, clock).active.kid == new
    assert timed.pending_until is None
    assert _published(timed) == [new, old]


def test_first_key_stays_published_until_the_third_key_signs(
    timed: KeyRing, clock: ManualClock
) -> None:
    first = timed.active.kid
    second = timed.rotate().kid
    third = timed.rotate(publish_seconds=6).kid
    assert _published(timed) == [second, third, first]
    clock.now += 6
    assert _published(timed) == [third, second]


def test_rotation_during_a_rotation_is_refused(timed: KeyRing, clock: ManualClock) -> None:
    timed.rotate(publish_seconds=6)
    before = _published(timed)
    with pytest.raises(RotationInProgress, match="in progress") as caught:
        timed.rotate()
    assert caught.value.hint == "retry in 6 seconds"
    assert _published(timed) == before
    clock.now += 6
    timed.rotate()


@pytest.mark.parametrize("days", [1, 400])
def test_clock_that_is_set_back_does_not_stop_the_rotation(
    timed: KeyRing, clock: ManualClock, tmp_path: Path, days: int
) -> None:
    old = timed.active.kid
    new = timed.rotate(publish_seconds=6).kid
    clock.now -= days * DAY
    for ring in (timed, _copy(timed, tmp_path, clock)):
        assert ring.active.kid == new
        assert _published(ring) == [new, old]
    assert _published(timed) != []
    newest = timed.rotate().kid
    assert _published(timed) == [newest, new]


def test_temporarily_fast_clock_withdraws_no_key_permanently(
    timed: KeyRing, clock: ManualClock
) -> None:
    timed.rotate()
    before = _published(timed)
    clock.now += 30 * DAY
    assert len(_published(timed)) == 1
    clock.now -= 30 * DAY
    assert _published(timed) == before


def test_interrupted_rotation_is_completed_at_the_next_start(
    timed: KeyRing, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop before the withdrawn key is deleted: the next start deletes it."""
    timed.rotate()

    def stop(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "remove", stop)
    with pytest.raises(KeyboardInterrupt):
        timed.rotate()
    assert len(list((tmp_path / "timed").iterdir())) == 3
    monkeypatch.undo()
    ring = _copy(timed, tmp_path, clock)
    assert len(_published(ring)) == len(list((tmp_path / "timed").iterdir())) == 2


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
            output = process.stdout.readline()
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            output += process.stdout.read()
        # The last line may be incomplete. A rotation withdraws all keys but the last two.
        acknowledged = output[: output.rindex("\n")].split("\n")[-1]
        assert acknowledged in [key.kid for key in KeyRing.open(folder).public]


def test_reload_uses_the_restored_files(ring: KeyRing, folder: Path) -> None:
    first, (file,) = ring.active.kid, list(folder.iterdir())
    content = file.read_bytes()
    ring.rotate()
    ring.retire(first)
    for each in folder.iterdir():
        each.unlink()
    file.write_bytes(content)
    ring.reload()
    assert [key.kid for key in ring.public] == [first]
