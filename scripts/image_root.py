"""The image's root file system: an interpreter, podpass with its dependencies, and no other program.

The file system of one command has only the modules and the distributions that this command imports.

It is copied from the environment that runs this module, so it needs no network and no base image.
`deploy/Dockerfile` runs it in its first stage, and a test on any machine. It needs Linux with glibc, whose
`ldd` lists libraries.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import os
import py_compile
import re
import shutil
import site
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from image_imports import distribution_names, imported_modules

from podpass.crypto.multibuffer import library

try:
    from packaging.requirements import Requirement
except ModuleNotFoundError:
    # `make demo` installs no such package. pip has a copy of it.
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]

USER = 65532
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PREFIX = Path("usr/local")
LIBRARY = PREFIX / "lib" / f"python{VERSION}"
# Packages that only developers use, or that can run or install other programs.
NOT_COPIED = {
    "__pycache__",
    "curses",
    "dbm",
    "dist-packages",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "macholib",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
    "venv",
}
# Modules of the standard library for terminals, sound and old databases, some with libraries of their own.
_NOT_COPIED_PREFIXES = (
    *("_tkinter", "_test", "_ctypes_test", "_xx", "xx", "turtle"),
    *("_curses", "_dbm", "_gdbm", "nis.", "ossaudiodev", "readline"),
)
# Packages of the standard library that are copied for one command only if podpass imports them.
_LARGE = {"sqlite3"}
# The distributions of this repository, which may be installed editable.
_OWN = ("kubeling", "podpass")
_COMMAND_LINE = ("podpass.cli", "podpass.cli.main", "podpass.cli.commands")
# The environment variable with a folder of compiled modules that builds share. It is not set by default.
BYTECODE = "PODPASS_IMAGE_BYTECODE"
_UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
_SOURCES = {".c", ".h", ".pxd", ".pyi", ".pyx"}
_LIBRARY = re.compile(r"(?:(\S+) => )?(/\S+) \(0x")


class CannotAssemble(Exception):
    """The image cannot be assembled here; the message gives the reason."""


def site_name(site_packages: Sequence[str]) -> str:
    """Return the name of the interpreter's package folder; Debian's interpreter uses another name.

    `site_packages` is the result of `site.getsitepackages()`, in a virtual environment or not.
    """
    names = {Path(each).name for each in site_packages}
    return "dist-packages" if "dist-packages" in names else "site-packages"


def assemble(
    root: Path, extras: Sequence[str] = (), command: str | None = None
) -> list[metadata.Distribution]:
    """Write the file system into an empty folder; return the installed distributions.

    `extras` are the extras of podpass to install; `command` is the module of the only command that must run,
    None for all.
    """
    base = Path(sys.base_prefix)
    interpreter = Path(os.path.realpath(sys.executable))
    copy_file(interpreter, root / PREFIX / "bin" / f"python{VERSION}")
    for name in ("python", "python3"):
        (root / PREFIX / "bin" / name).symlink_to(f"python{VERSION}")
    distributions, files, left_out = _contents(extras, command)
    standard = Path(sysconfig.get_path("stdlib", vars={"base": str(base)}))
    for path in _files(standard):
        if not _is_excluded(path.relative_to(standard), left_out):
            copy_file(path, root / LIBRARY / path.relative_to(standard))
    found = sorted(distributions.values(), key=lambda one: one.name.lower())
    packages = root / LIBRARY / site_name(site.getsitepackages())
    for distribution in found:
        if distribution.name in _OWN:
            package = _package_folder(distribution.name)
            mine = files if distribution.name == "podpass" else _sources(package)
            _install_package(distribution, packages, package, mine)
        else:
            _install(distribution, root, packages)
    copy_libraries(root)
    if command is not None:
        _remove_debug_information(root)
    _write_settings(root)
    _compile(root)
    return found


def _contents(
    extras: Sequence[str], command: str | None
) -> tuple[dict[str, metadata.Distribution], list[Path], set[str]]:
    """Return the distributions, the files of podpass, and the standard modules that are left out."""
    package = _package_folder("podpass")
    if command is None:
        named = f"podpass[{','.join(extras)}]"
        # The image with all commands also runs the local loop, which needs kubeling.
        found = required_distributions(named) | required_distributions("kubeling")
        return found, _sources(package), set()
    modules, others = imported_modules(package, [*_COMMAND_LINE, command])
    distributions = {"podpass": metadata.distribution("podpass")}
    for name in sorted(distribution_names(others)):
        distributions |= required_distributions(name)
    left_out = {f"{prefix}{name}" for name in _LARGE - others for prefix in ("", "_")}
    return distributions, sorted(modules.values()), left_out


def _package_folder(name: str) -> Path:
    return Path(importlib.import_module(name).__path__[0])


def _sources(package: Path) -> list[Path]:
    return [path for path in _files(package) if "__pycache__" not in path.parts]


def required_distributions(name: str) -> dict[str, metadata.Distribution]:
    """Return a distribution and its runtime dependencies, including the given extras.

    Raises CannotAssemble.
    """
    found: dict[str, metadata.Distribution] = {}

    def add(requirement: Requirement) -> None:
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError as exc:
            raise CannotAssemble(f"{exc.name} is not installed here: install {name}") from exc
        known = distribution.metadata.get_all("Provides-Extra") or []
        if requirement.name == Requirement(name).name and (other := requirement.extras - {*known}):
            raise CannotAssemble(f"{name} has no {', '.join(other)}; it has {', '.join(known)}")
        found[_normalized_name(requirement.name)] = distribution
        extras = ["", *requirement.extras]
        for text in distribution.requires or ():
            one = Requirement(text)
            wanted = one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)
            if wanted and _normalized_name(one.name) not in found:
                add(one)

    add(Requirement(name))
    return found


def _normalized_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_excluded(path: Path, left_out: set[str]) -> bool:
    return (
        bool((NOT_COPIED | left_out).intersection(path.parts))
        or path.name.partition(".")[0] in left_out
        or path.parts[0].startswith("config-")
        or path.name.startswith(_NOT_COPIED_PREFIXES)
    )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with the mode of a program or of a plain file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    # Some modules of the standard library are also scripts; they must not be executable.
    runs = os.access(source, os.X_OK) and target.suffix not in (".py", ".sh")
    target.chmod(0o755 if runs else 0o644)


def _install(distribution: metadata.Distribution, root: Path, site: Path) -> None:
    """Copy a distribution without its commands; the only command is `podpass`, which is written below."""
    libraries = Path(sysconfig.get_path("data"), "lib").resolve()
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        # Of the three names of this library, podpass loads only this one.
        if path.name in library.SONAMES and path.resolve().parent == libraries:
            copy_file(path, root / PREFIX / "lib" / path.name)
        if ".." in file.parts or not path.is_file() or file.suffix in _SOURCES:
            continue
        if "__pycache__" not in file.parts and file.name not in ("RECORD", "direct_url.json"):
            copy_file(path, site / file)


def _install_package(
    distribution: metadata.Distribution, site: Path, package: Path, files: Sequence[Path]
) -> None:
    """Copy a package from its import location, because an editable install lists none of its files."""
    for path in files:
        copy_file(path, site / package.name / path.relative_to(package))
    info = site / f"{package.name}-{distribution.version}.dist-info"
    info.mkdir(parents=True)
    text = distribution.read_text("METADATA") or ""
    (info / "METADATA").write_text(text)


def copy_libraries(root: Path) -> None:
    """Copy the libraries of programs and modules, and the loader, to the loader's search path."""
    here = f"lib/{sysconfig.get_config_var('MULTIARCH')}"
    programs = (root / PREFIX / "bin").iterdir()
    objects = [path for path in _files(root) if path.suffix == ".so" or ".so." in path.name]
    objects += [path for path in programs if not path.is_symlink() and path.name != "podpass"]
    for path in objects:
        done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False)
        missing = set(re.findall(r"(\S+) => not found", done.stdout)) - {*library.RUNTIME}
        if missing:
            raise CannotAssemble(f"{path.relative_to(root)} needs {', '.join(sorted(missing))}")
        for name, where in _LIBRARY.findall(done.stdout):
            if Path(where).is_relative_to(root):
                continue  # a package contains it
            target = root / (f"{here}/{name}" if name else where.lstrip("/"))
            if not target.exists():
                copy_file(Path(os.path.realpath(where)), target)
    # glibc loads it by name when a thread ends.
    for found in sorted(Path("/", here).glob("libgcc_s.so.1")):
        copy_file(Path(os.path.realpath(found)), root / here / found.name)


def _remove_debug_information(root: Path) -> None:
    """Remove debug information from compiled files, if `strip` is installed; it is most of some wheels."""
    if (program := shutil.which("strip")) is None:
        return
    for path in _files(root):
        with path.open("rb") as content:
            is_compiled = content.read(4) == b"\x7fELF"
        if is_compiled and not path.is_symlink():
            subprocess.run([program, "--strip-debug", str(path)], check=True, capture_output=True)


def _write_settings(root: Path) -> None:
    """Write the command, the only user, and the CA certificates of TLS clients."""
    launcher = root / PREFIX / "bin" / "podpass"
    launcher.write_text(
        f"#!/{PREFIX}/bin/python{VERSION} -I\nfrom podpass.cli import main\n\nmain()\n"
    )
    launcher.chmod(0o755)
    authorities = ssl.get_default_verify_paths()
    if authorities.cafile is None and not Path("/etc/ssl/certs/ca-certificates.crt").is_file():
        raise CannotAssemble("there are no CA certificates here: install ca-certificates")
    known = Path(authorities.cafile or "/etc/ssl/certs/ca-certificates.crt")
    copy_file(known, root / authorities.openssl_cafile.lstrip("/"))
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(f"nonroot:x:{USER}:{USER}:nonroot:/nonexistent:/nonexistent\n")
    (etc / "group").write_text(f"nonroot:x:{USER}:\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    for name in ("tmp", "proc", "dev"):
        (root / name).mkdir()


def _compile(root: Path) -> None:
    """Compile all modules: the root is read-only, so no start could store what it compiles."""
    stored = Path(os.environ[BYTECODE]) if os.environ.get(BYTECODE) else None
    for path in _files(root / LIBRARY):
        if path.suffix == ".py":
            _compile_module(path, f"/{path.relative_to(root)}", stored)


def _compile_module(path: Path, name: str, stored: Path | None) -> None:
    """Compile a module under its name in the image, or copy what an earlier build compiled from this text."""
    compiled = Path(importlib.util.cache_from_source(path))
    # The name of the compiled file has the level of optimization.
    made_with = f"{sys.version}\0{compiled.name}\0{name}\0".encode()
    key = hashlib.sha256(made_with + path.read_bytes()).hexdigest()
    known = stored / key[:2] / key if stored else None
    if known:
        # A test run may remove it now, because no build has used it for days.
        with contextlib.suppress(FileNotFoundError):
            os.utime(known)
            copy_file(known, compiled)
            return
    # A few files of packages are templates and not valid Python; they are not compiled.
    py_compile.compile(str(path), str(compiled), name, quiet=2, invalidation_mode=_UNCHECKED)
    if known and compiled.exists():
        part = known.with_name(f"{key}.{os.getpid()}")
        copy_file(compiled, part)
        part.replace(known)
