"""The folder of an issuer's keys: private keys, state, and the files that API servers read.

    issuer.yaml         settings
    state.json          the keys and how far each of them is
    keys/KID.pem        private keys, mode 0600
    signing.key         a link to the active private key: --service-account-signing-key-file
    verification.pem    all public keys: --service-account-key-file

Each file is replaced atomically, so a crash at any moment leaves the old or the new content.
"""

import contextlib
import fcntl
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import orjson
from cryptography.hazmat.primitives.asymmetric import rsa

from podpass import files
from podpass.assertion.publishing import public_key
from podpass.assertion.publishing.model import (
    PRIVATE_KEYS,
    ClockReading,
    IssuerError,
    IssuerKey,
    IssuerState,
)
from podpass.crypto import jose

STATE = "state.json"
SIGNING_KEY = "signing.key"
VERIFICATION_KEYS = "verification.pem"
_LOCK = "lock"
_MAX_STATE_BYTES = 1024 * 1024
_MAX_KEY_BYTES = 64 * 1024
_VERSION = 1
_TIMES = ("published", "loaded", "signs", "confirmed", "replaced", "withdrawn")
Row = TypeVar("Row")


class KeyFolder:
    """The files of an issuer. One process changes them at a time; any process may read them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def state_path(self) -> Path:
        return self.root / STATE

    def key_path(self, kid: str) -> Path:
        return self.root / PRIVATE_KEYS / f"{kid}.pem"

    def prepare(self) -> None:
        """Create the folder, accessible only to its owner."""
        files.create_private_folder(self.root)
        files.create_private_folder(self.root / PRIVATE_KEYS)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder, so that another command that changes the keys is refused.

        Raises IssuerError if the lock is taken, every user may replace the files, or a change fails.
        """
        if not self.root.is_dir():
            raise IssuerError(
                f"there is no issuer in {self.root}",
                hint="create one with `podpass issuer keygen`, or name its folder with --dir",
            )
        self._require_protected()
        with self.reporting_errors(), files.open_private(self.root / _LOCK) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise IssuerError(
                    f"another command changes the keys in {self.root}",
                    hint="wait until it has ended, then run the command again",
                ) from exc
            self._remove_partial_files()
            yield

    def _require_protected(self) -> None:
        """Refuse a folder in which every user may replace keys and settings, which name commands to run."""
        for folder in (self.root, self.root / PRIVATE_KEYS):
            if files.is_world_writable(folder):
                raise IssuerError(
                    f"every user of this machine can replace files in {folder}",
                    hint="remove that permission (chmod o-w), and check the files in the folder",
                )

    @contextmanager
    def reporting_errors(self) -> Iterator[None]:
        """Translate an error of the file system, such as a full disk, into one that names the folder.

        Raises IssuerError.
        """
        try:
            yield
        except ConnectionError:
            raise  # a closed pipe of the output
        except OSError as exc:
            raise IssuerError(
                f"{self.root} cannot be changed: {exc.strerror or exc}",
                hint="check the owner of the folder and the free space of its disk, then run the"
                " command again",
            ) from exc

    def _remove_partial_files(self) -> None:
        """Delete what a process that was killed left behind: it may contain a private key."""
        for folder in (self.root, self.root / PRIVATE_KEYS):
            for path in folder.glob(".*.part"):
                files.remove(path)

    def read_state(self) -> IssuerState:
        """Read the state. Raises IssuerError, with the file."""
        self._require_protected()
        try:
            data = files.read_regular(self.state_path, _MAX_STATE_BYTES)
        except FileNotFoundError as exc:
            raise IssuerError(
                f"there are no keys in {self.root}",
                hint="create the first one with `podpass issuer keygen`",
            ) from exc
        except OSError as exc:
            raise IssuerError(
                f"{self.state_path} cannot be read: {exc.strerror}", hint="check the file"
            ) from exc
        try:
            return decode_state(data)
        except IssuerError as exc:
            raise IssuerError(
                f"{self.state_path}: {exc.message}", hint="restore the folder from a backup"
            ) from exc

    def write_state(self, state: IssuerState) -> None:
        """Replace the state; it is on the disk when this returns."""
        files.write_private(self.state_path, encode_state(state))

    def create_key(self, bits: int, now: float) -> IssuerKey:
        """Generate a key and store its private part."""
        return self.store_key(jose.generate_rsa(bits), now)

    def import_key(self, path: Path, now: float) -> IssuerKey:
        """Store a copy of an existing private key, such as the one that a cluster signs with.

        Raises IssuerError, which never shows the content of the file.
        """
        try:
            key = jose.load_private_pem(files.read_regular(path, _MAX_KEY_BYTES))
            numbers = key.public_key().public_numbers()
            jose.check_rsa_numbers(numbers.n, numbers.e)
        except OSError as exc:
            raise IssuerError(
                f"{path} cannot be read: {exc.strerror}", hint="check --import"
            ) from exc
        except jose.BadKey as exc:
            raise IssuerError(
                f"{path} cannot be the key of an issuer: {exc.message}",
                hint="Entra accepts RSA keys of 2048 to 4096 bits; create a new one without --import",
            ) from exc
        return self.store_key(key, now)

    def store_key(self, key: rsa.RSAPrivateKey, now: float) -> IssuerKey:
        """Store a private key, and return its entry for the state."""
        kid = jose.public_key_id(key.public_key())
        files.write_private(self.key_path(kid), jose.private_key_pem(key))
        return IssuerKey(kid=kid, public_pem=public_key.encode(key.public_key()), created=now)

    def read_private(self, kid: str) -> jose.SigningKey:
        """Read a private key. Raises IssuerError, which never shows the content of the file."""
        path = self.key_path(kid)
        try:
            key = jose.load_private_pem(files.read_regular(path, _MAX_KEY_BYTES))
        except (OSError, jose.BadKey) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc.message
            raise IssuerError(
                f"{path} cannot be read: {reason}", hint="restore the folder from a backup"
            ) from exc
        if jose.public_key_id(key.public_key()) != kid:
            raise IssuerError(
                f"{path} contains another key", hint="restore the folder from a backup"
            )
        return jose.SigningKey(kid=kid, key=key)

    def delete_private(self, kid: str) -> None:
        """Delete a private key that signs no more."""
        files.remove(self.key_path(kid))

    def write_api_server_files(self, state: IssuerState) -> None:
        """Write what API servers read at their start: the active private key, and all public keys."""
        loaded = [key for key in reversed(state.keys) if key.kid in state.published]
        keys = [state.active, *(key for key in loaded if key is not state.active)]
        if state.active.withdrawn is not None:
            keys = keys[1:]
        data = "".join(key.public_pem for key in keys).encode()
        path = self.root / VERIFICATION_KEYS
        if not path.exists() or path.read_bytes() != data:
            files.write_private(path, data)
        self._link_signing_key(state.active.kid)

    def _link_signing_key(self, kid: str) -> None:
        link, target = self.root / SIGNING_KEY, Path(PRIVATE_KEYS) / f"{kid}.pem"
        if link.is_symlink() and link.readlink() == target:
            return
        part = self.root / f".{SIGNING_KEY}.part"
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.replace(link)
        files.sync_folder(self.root)

    def unknown_private_keys(self, state: IssuerState) -> list[str]:
        """Return the names of private keys that the state does not contain."""
        known = {f"{key.kid}.pem" for key in state.keys}
        return sorted(
            path.name for path in (self.root / PRIVATE_KEYS).glob("*.pem") if path.name not in known
        )


def read_clock(seconds: float) -> ClockReading:
    """Return the time together with the time since the start of the machine, where the system has it."""
    boot_id = ""
    with contextlib.suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    number = getattr(time, "CLOCK_BOOTTIME", None)
    if not boot_id or number is None:
        return ClockReading(seconds=seconds)
    return ClockReading(seconds=seconds, boot_id=boot_id, boot_seconds=time.clock_gettime(number))


def encode_state(state: IssuerState) -> bytes:
    """Return the state as JSON."""
    return orjson.dumps(
        {"version": _VERSION, **asdict(state)},
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def decode_state(data: bytes) -> IssuerState:
    """Parse and check a state. Raises IssuerError."""
    try:
        found = jose.loads_object(data)
        if found.pop("version", None) != _VERSION:
            raise IssuerError("the version of the state is not supported")
        state = IssuerState(
            keys=tuple(_parse_key(entry) for entry in found.pop("keys")),
            clock=_parse_row(ClockReading, found.pop("clock")),
            published=_parse_texts(found.pop("published")),
            former=_parse_texts(found.pop("former")),
        )
    except (KeyError, TypeError, ValueError, jose.MalformedToken, jose.BadKey) as exc:
        raise IssuerError(f"the state is damaged: {type(exc).__name__}") from exc
    kids = [key.kid for key in state.keys]
    if found or len(set(kids)) != len(kids) or not any(key.signs is not None for key in state.keys):
        raise IssuerError("the state is damaged: its keys do not fit together")
    return state


def _parse_key(entry: Any) -> IssuerKey:
    key = _parse_row(IssuerKey, entry)
    if jose.public_key_id(public_key.load(key.public_pem)) != key.kid:
        raise ValueError("the key ID is not that of the public key")
    for name in ("created", *_TIMES):
        value = getattr(key, name)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
            raise ValueError(name)
    if type(key.is_leaked) is not bool or key.created is None:
        raise ValueError("is_leaked")
    return key


def _parse_row(kind: type[Row], entry: Any) -> Row:
    if not isinstance(entry, dict) or entry.keys() != {field.name for field in fields(kind)}:  # type: ignore[arg-type]
        raise ValueError(kind.__name__)
    return kind(**entry)


def _parse_texts(entries: Any) -> tuple[str, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise TypeError("not a list of texts")
    return tuple(entries)
