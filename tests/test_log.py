"""Lines of the log: one for each event, whatever a caller puts into its values."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from podpass import log

_log = logging.getLogger("podpass.test")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _kept() -> Iterator[None]:
    root = logging.getLogger("podpass")
    before = root.handlers[:], root.level, root.propagate
    yield
    root.handlers[:], root.level, root.propagate = before


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_line_break_in_a_value_begins_no_line(stream: io.StringIO) -> None:
    """Log injection: a subject that looks like another event."""
    log.configure(stream)
    _log.info("token_refused", extra={"sub": "a\n2026-01-01T00:00:00Z info token_granted\x1b[31m"})
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_the_log_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "podpass.log"
    file.touch(mode=0o644)
    log.configure(file=file)
    _log.info("token_granted", extra={"sub": "ä"})
    logging.getLogger("podpass").handlers[0].close()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ä" in file.read_text(encoding="utf-8")


def test_a_long_log_steps_aside_and_one_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that runs for weeks must not fill its disk by itself."""
    monkeypatch.setattr(log, "MAX_FILE_BYTES", 500)
    file = tmp_path / "podpass.log"
    log.configure(file=file)
    for number in range(40):
        _log.info("token_granted", extra={"number": number})
    logging.getLogger("podpass").handlers[0].close()
    before = tmp_path / "podpass.log.1"
    assert {path.name for path in tmp_path.iterdir()} == {file.name, before.name}
    lines = (before.read_text() + file.read_text()).splitlines()
    assert '"number":39' in lines[-1]
    assert max(path.stat().st_size for path in (file, before)) < 700
    assert {path.stat().st_mode & 0o777 for path in (file, before)} == {0o600}
