"""RSA-2048 signatures up to eight at a time, by Intel's multi-buffer library where one is installed.

A processor with AVX-512 IFMA makes eight in the time of two and a half, if they are made together. The
library, `libcrypto_mb`, is in distributions and in podpass's extra `multibuffer`. Its answers are not
trusted: a signature that is wrong in one half of its Chinese remainders gives the key's factors to whoever
sees it, so each is checked by OpenSSL before anybody does.
Source: crypto_mb/rsa.h and cpu_features.h of Intel Cryptography Primitives 13; RFC 8017, 9.2.
"""

import ctypes
import hashlib
import re
import sys
import sysconfig
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from podpass.crypto.multibuffer.stub_library import load_empty
from podpass.errors import Error

LANES = 8
BITS = 2048
_SIZE = BITS // 8
_RSA_2K = 1  # MBX_ALGO_RSA_2K
# MBX_AVX512_GENERAL_ISA: AVX-512 F, DQ, BW, IFMA and VBMI2, and BMI2, all let by the system. The library has
# another way, for processors with AVX-IFMA alone, of which nobody has measured that it gains anything.
_AVX512 = 0xA303100000
SONAMES = ("libcrypto_mb.so.13", "libcrypto_mb.so.12")
# Parts of Intel's compiler runtime. The build on PyPI names them, and calls nothing of theirs.
RUNTIME = ("libintlc.so.5", "libirng.so", "libimf.so", "libsvml.so")
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
_HEAD = b"\x00\x01".ljust(_SIZE - len(_SHA256) - 33, b"\xff") + b"\x00" + _SHA256
_Pointers = ctypes.c_void_p * LANES


class Unusable(Error):
    """The library, or a key with it, makes no signatures here."""

    code = "multibuffer_unusable"
    hint = (
        "`--multibuffer auto` takes what can be used, `--multibuffer none` signs by OpenSSL alone"
    )


class WrongSignature(Error):
    """The library made a signature that does not fit its text and key."""

    code = "multibuffer_wrong_signature"


class Library:
    """The library, open, on a processor that it is made for."""

    def __init__(self, dll: ctypes.CDLL, file: str) -> None:
        self.file = file if "/" in file else _mapped(file)
        try:
            dll.mbx_get_algo_info.restype = dll.mbx_get_cpu_features.restype = ctypes.c_uint64
            dll.mbx_RSA2K_private_crt_Method.restype = ctypes.c_void_p
            dll.mbx_RSA_Method_BufSize.argtypes = (ctypes.c_void_p,)
            sign = dll.mbx_rsa_private_crt_mb8
        except AttributeError as exc:
            raise Unusable(f"{file} is another library, or an older one") from exc
        # An array each of texts, answers and the key's five parts; then bits, method, and room to work in.
        sign.argtypes = (*[_Pointers] * 7, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
        sign.restype = ctypes.c_uint32
        # A bit for each number of lanes, of the same value.
        has_lanes = dll.mbx_get_algo_info(_RSA_2K) & LANES
        if not has_lanes or dll.mbx_get_cpu_features() & _AVX512 != _AVX512:
            raise Unusable(f"the processor has no AVX-512 IFMA, for which {file} is made")
        self._sign = sign
        self._method = dll.mbx_RSA2K_private_crt_Method()
        size = dll.mbx_RSA_Method_BufSize(self._method) if self._method else 0
        if size <= 0:
            raise Unusable(f"{file} has no way to sign by 2048 bits")
        self._lock = Lock()  # there is one room
        self._room = ctypes.create_string_buffer(size)

    def load(self, key: rsa.RSAPrivateKey) -> "Key":
        """Take a key.

        Errors:  Unusable, for one of another length.
        """
        return Key(self, key)

    def raise_blocks(self, blocks: Sequence[bytes], parts: Sequence[Any]) -> list[bytes]:
        """Raise padded texts to a key's private exponent.

        Shapes:  1 to 8 `blocks` of 256 bytes.
        Errors:  Unusable.
        """
        count = len(blocks)
        taken = ctypes.create_string_buffer(b"".join(blocks), _SIZE * count)
        made = ctypes.create_string_buffer(_SIZE * count)
        with self._lock:
            status = self._sign(
                _each(taken, count), _each(made, count), *parts, BITS, self._method, self._room
            )
            # What the library leaves there gives the key away: residues of its primes.
            ctypes.memset(self._room, 0, len(self._room))
        # Four bits a lane; those of lanes that were left empty say so.
        if status & (1 << 4 * count) - 1:
            raise Unusable("the library refused a text or the key", status=f"{status:08x}")
        return [made.raw[at : at + _SIZE] for at in range(0, _SIZE * count, _SIZE)]


class Key:
    """A private key in the form that the library reads."""

    def __init__(self, library: Library, key: rsa.RSAPrivateKey) -> None:
        numbers = key.private_numbers()
        if key.key_size != BITS or {numbers.p.bit_length(), numbers.q.bit_length()} != {BITS // 2}:
            raise Unusable(f"the key is not of {BITS} bits in two equal primes")
        parts = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        # Kept beside the pointers to them.
        self._numbers = [
            ctypes.create_string_buffer(part.to_bytes(_SIZE // 2, "little")) for part in parts
        ]
        self._parts = [_Pointers(*[ctypes.addressof(part)] * LANES) for part in self._numbers]
        weakref.finalize(self, _wipe, self._numbers)
        self._library = library
        self._public = key.public_key()

    def sign(self, texts: Sequence[bytes]) -> list[bytes]:
        """Sign texts by RSASSA-PKCS1-v1_5 with SHA-256.

        Shapes:  1 to 8 `texts`.
        Errors:  Unusable; WrongSignature, and then none of them is given.
        """
        made = self._library.raise_blocks([_padded(text) for text in texts], self._parts)
        for text, signature in zip(texts, made, strict=True):
            try:
                self._public.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature as exc:
                raise WrongSignature("a signature did not fit its text and key") from exc
        return made


def find() -> Library:
    """Open the library that is installed: that of this environment, or the distribution's.

    Errors:  Unusable, with the reasons.
    """
    reasons = []
    for file in _candidates():
        try:
            return open_file(file)
        except Unusable as exc:
            reasons.append(exc.message)
    places = ", ".join(map(str, _beside()))
    raise Unusable(f"{'; '.join(reasons)}; looked for in {places} and by the loader")


def open_file(file: str) -> Library:
    """Open the library in a file, or by the name the loader knows.

    Errors:  Unusable.
    """
    try:
        return Library(_loaded(file), file)
    except OSError as exc:
        raise Unusable(f"the library cannot be loaded: {exc}") from exc


def _loaded(file: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(file)
    except OSError as exc:
        if not any(name in str(exc) for name in RUNTIME):
            raise
    load_empty(RUNTIME)
    return ctypes.CDLL(file)


def _candidates() -> Iterator[str]:
    """Name where one may be: in this environment first, since a loader can be told to look elsewhere."""
    for folder in _beside():
        yield from (str(folder / name) for name in SONAMES if (folder / name).exists())
    yield from SONAMES


def _beside() -> list[Path]:
    """Name the folders in which packages put libraries: Debian's Python has another than it says."""
    return [Path(each, "lib") for each in dict.fromkeys((sys.prefix, sysconfig.get_path("data")))]


def _mapped(name: str) -> str:
    """Find the file that the loader took for a name."""
    maps = Path("/proc/self/maps").read_text(errors="replace")
    found = re.search(rf"/\S*{re.escape(name)}\S*$", maps, re.MULTILINE)
    return found[0] if found else name


def _wipe(buffers: Sequence[Any]) -> None:
    for buffer in buffers:
        ctypes.memset(buffer, 0, len(buffer))


def _each(buffer: Any, count: int) -> Any:
    return _Pointers(*(ctypes.addressof(buffer) + _SIZE * lane for lane in range(count)))


def _padded(text: bytes) -> bytes:
    return _HEAD + hashlib.sha256(text).digest()
