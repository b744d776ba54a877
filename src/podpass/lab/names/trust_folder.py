"""Write the bundle into a folder that containers without a cluster mount."""

import contextlib
import os
import re
import ssl
from pathlib import Path

from podpass.errors import Error
from podpass.lab.names import bundles
from podpass.lab.names.injection import JAVA_STORE, BundleNames, build_variables

VARIABLES = "trust.env"
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644
_HASH_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_OWN_NAMES = {bundles.BUNDLE, bundles.CA, bundles.TRUST_STORE, JAVA_STORE, VARIABLES}
_PART = ".podpass.part"
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class NoPublicRoots(Error):
    """The image has no public root certificates."""

    code = "no_public_roots"
    hint = "add the package ca-certificates to the image"


class TrustFolderRefused(Error):
    """The folder for the bundle cannot be written, or has other files."""

    code = "trust_folder"
    hint = "name an empty folder with --trust-dir, writable by the user of this process"


def read_public_roots() -> bytes:
    """Return the public root certificates of this image. Raises NoPublicRoots."""
    default = ssl.get_default_verify_paths().cafile
    for name in (default, *_SYSTEM_BUNDLES):
        with contextlib.suppress(OSError):
            if name and (found := Path(name).read_bytes()):
                return found
    raise NoPublicRoots("this image has no public root certificates")


def check_folder(folder: Path) -> None:
    """Check that a folder has no files but those of an earlier bundle; a missing one is created later.

    Raises TrustFolderRefused.
    """
    try:
        present = {each.name for each in folder.iterdir()}
    except FileNotFoundError:
        return
    except OSError as exc:
        raise TrustFolderRefused(f"cannot read {folder}: {exc.strerror}") from exc
    # A folder of the system's certificates must not be replaced by mistake.
    if others := {name for name in present if not _is_own(name)}:
        raise TrustFolderRefused(f"{folder} has other files, such as {min(others)[:80]!r}")


def write_folder(folder: Path, public_roots: bytes, ca: bytes) -> None:
    """Write the files of the bundle, and the variables of containers that mount the folder.

    Other users read the folder, so it has no private key. A reader finds each file complete.

    Raises BadBundle, TrustFolderRefused.
    """
    names = BundleNames()
    files = bundles.build(public_roots, ca)
    files[JAVA_STORE] = files[bundles.TRUST_STORE]
    variables = build_variables(names)
    files[VARIABLES] = "".join(f"{key}={value}\n" for key, value in variables.items()).encode()
    try:
        _write(folder, files)
    except OSError as exc:
        raise TrustFolderRefused(f"cannot write {folder}: {exc.strerror}") from exc


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    check_folder(folder)
    present = {each.name for each in folder.iterdir()}
    for name, content in files.items():
        part = folder / _PART
        _create(part, content)
        part.replace(folder / name)
    for name in present - files.keys() - {_PART}:
        (folder / name).unlink()


def _create(path: Path, content: bytes) -> None:
    # A container that may write to the folder could leave a link here to a file of this process.
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    with os.fdopen(handle, "wb") as stream:
        os.fchmod(handle, _FILE_MODE)
        stream.write(content)


def _is_own(name: str) -> bool:
    return name in _OWN_NAMES or name == _PART or _HASH_NAME.fullmatch(name) is not None
