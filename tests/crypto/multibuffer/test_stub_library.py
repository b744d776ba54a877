"""Stub libraries: a library that is linked to one can be loaded, and finds no symbol in it."""

import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from podpass.crypto.multibuffer.stub_library import load_stubs

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="made for x86-64 Linux"
)


def test_loader_finds_stub_libraries_by_name() -> None:
    """Fails if a descriptor is closed before the next stub: the loader would confuse the two files."""
    names = [f"libpodpass_nothing_{number}.so" for number in range(3)]
    for name in names:
        with pytest.raises(OSError, match="cannot open shared object file"):
            ctypes.CDLL(name)
    load_stubs(names[:2])
    load_stubs(names[2:])
    for name in names:
        with pytest.raises(AttributeError, match="undefined symbol"):
            _ = ctypes.CDLL(name).exp_of_nothing


def test_stub_library_has_no_executable_segment_or_stack() -> None:
    load_stubs(["libpodpass_not_executable.so"])
    maps = Path("/proc/self/maps").read_text().splitlines()
    mine = [line for line in maps if "libpodpass_not_executable" in line or "[stack]" in line]
    assert len(mine) >= 2
    assert [line for line in mine if "x" in line.split()[1]] == []


def test_program_that_calls_a_stub_does_not_start(tmp_path: Path) -> None:
    """The loader refuses a program that uses a symbol of the real library; the program does not run."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "real.c").write_text("int answer(void) { return 42; }\n")
    (tmp_path / "user.c").write_text("int answer(void);\nint ask(void) { return answer(); }\n")
    real, user = tmp_path / "libpodpass_real.so", tmp_path / "libuser.so"
    build = [compiler, "-shared", "-fPIC", "-o"]
    subprocess.run(
        [*build, str(real), str(tmp_path / "real.c"), "-Wl,-soname,libpodpass_real.so"], check=True
    )
    subprocess.run([*build, str(user), str(tmp_path / "user.c"), str(real)], check=True)
    real.unlink()
    load_stubs(["libpodpass_real.so"])
    with pytest.raises(OSError, match="undefined symbol: answer"):
        ctypes.CDLL(str(user))
