"""Signs up to eight texts together with RSA-2048, by Intel's multi-buffer library `libcrypto_mb`.

A processor with AVX-512 IFMA computes eight signatures together in the time of two and a half single ones.
The library is packaged by distributions, and installed by podpass's extra `multibuffer`.

The signatures of the library are not trusted: a signature that is wrong modulo one of the two primes reveals
the key's factors, so OpenSSL verifies each signature before it is returned.

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

from podpass.crypto.multibuffer.stub_library import load_stubs
from podpass.errors import Error

LANES = 8
# A batch takes the time of three single signatures, verification included.
MIN_BATCH = 3
BITS = 2048
_SIZE = BITS // 8
_RSA_2K = 1  # MBX_ALGO_RSA_2K
# MBX_AVX512_GENERAL_ISA: AVX-512 F, DQ, BW, IFMA and VBMI2, and BMI2, all enabled by the operating system.
# The library also has code for processors with AVX-IFMA only; its speed was never measured, so it is not
# used.
_AVX512 = 0xA303100000
SONAMES = ("libcrypto_mb.so.13", "libcrypto_mb.so.12")
# Parts of Intel's compiler runtime. The build on PyPI is linked to them but calls none of their functions.
RUNTIME = ("libintlc.so.5", "libirng.so", "libimf.so", "libsvml.so")
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
_HEAD = b"\x00\x01".ljust(_SIZE - len(_SHA256) - 33, b"\xff") + b"\x00" + _SHA256
_Pointers = ctypes.c_void_p * LANES


class MultiBufferUnusable(Error):
    """The library cannot sign on this machine, or not with this key."""

    code = "multibuffer_unusable"
    hint = "use `--multibuffer auto` to fall back to OpenSSL, or `--multibuffer none` to use only OpenSSL"


class MultiBufferNotInstalled(MultiBufferUnusable):
    """No file of the library exists on this machine."""

    code = "multibuffer_not_installed"


class WrongSignature(Error):
    """The library returned a signature that is not valid."""

    code = "wrong_multibuffer_signature"


class MultiBufferLibrary:
    """The loaded library, on a processor that supports it. It is a BatchSigner."""

    min_batch = MIN_BATCH
    max_batch = LANES

    def __init__(self, dll: ctypes.CDLL, file: str) -> None:
        self.file = file if "/" in file else _resolve_loaded_file(file)
        try:
            dll.mbx_get_algo_info.restype = dll.mbx_get_cpu_features.restype = ctypes.c_uint64
            dll.mbx_RSA2K_private_crt_Method.restype = ctypes.c_void_p
            dll.mbx_RSA_Method_BufSize.argtypes = (ctypes.c_void_p,)
            sign = dll.mbx_rsa_private_crt_mb8
        except AttributeError as exc:
            raise MultiBufferUnusable(f"{file} is another library, or too old") from exc
        # Arrays of texts, of signatures and of the key's five parts; then bits, method, scratch buffer.
        sign.argtypes = (*[_Pointers] * 7, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
        sign.restype = ctypes.c_uint32
        # A bit mask of the supported numbers of lanes.
        has_lanes = dll.mbx_get_algo_info(_RSA_2K) & LANES
        if not has_lanes or dll.mbx_get_cpu_features() & _AVX512 != _AVX512:
            raise MultiBufferUnusable(f"the processor has no AVX-512 IFMA, which {file} needs")
        self._sign = sign
        self._method = dll.mbx_RSA2K_private_crt_Method()
        size = dll.mbx_RSA_Method_BufSize(self._method) if self._method else 0
        if size <= 0:
            raise MultiBufferUnusable(f"{file} has no method for RSA-2048 signatures")
        self._lock = Lock()  # guards the one scratch buffer
        self._scratch = ctypes.create_string_buffer(size)

    def load(self, key: rsa.RSAPrivateKey) -> "MultiBufferKey":
        """Load a key. Raises MultiBufferUnusable for a key of another size."""
        return MultiBufferKey(self, key)

    def sign_blocks(self, blocks: Sequence[bytes], parts: Sequence[Any]) -> list[bytes]:
        """Apply the RSA private-key operation to padded texts.

        1 to 8 `blocks` of 256 bytes. Raises MultiBufferUnusable.
        """
        count = len(blocks)
        inputs = ctypes.create_string_buffer(b"".join(blocks), _SIZE * count)
        outputs = ctypes.create_string_buffer(_SIZE * count)
        with self._lock:
            status = self._sign(
                _lane_pointers(inputs, count),
                _lane_pointers(outputs, count),
                *parts,
                BITS,
                self._method,
                self._scratch,
            )
            # The library leaves residues of the primes in the buffer, which would reveal the key.
            ctypes.memset(self._scratch, 0, len(self._scratch))
        # Four status bits for each lane; an empty lane reports an error too, and is masked out.
        if status & (1 << 4 * count) - 1:
            raise MultiBufferUnusable(
                "the library refused a text or the key", status=f"{status:08x}"
            )
        return [outputs.raw[at : at + _SIZE] for at in range(0, _SIZE * count, _SIZE)]


class MultiBufferKey:
    """A private key in the library's format."""

    def __init__(self, library: MultiBufferLibrary, key: rsa.RSAPrivateKey) -> None:
        numbers = key.private_numbers()
        if key.key_size != BITS or {numbers.p.bit_length(), numbers.q.bit_length()} != {BITS // 2}:
            raise MultiBufferUnusable(
                f"the key does not have {BITS} bits and two primes of equal size"
            )
        parts = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        # A reference to the buffers, because the pointers alone do not keep them alive.
        self._numbers = [
            ctypes.create_string_buffer(part.to_bytes(_SIZE // 2, "little")) for part in parts
        ]
        self._parts = [_Pointers(*[ctypes.addressof(part)] * LANES) for part in self._numbers]
        weakref.finalize(self, _wipe, self._numbers)
        self._library = library
        self._public = key.public_key()

    def sign(self, texts: Sequence[bytes]) -> list[bytes]:
        """Sign texts with RSASSA-PKCS1-v1_5 and SHA-256.

        1 to 8 `texts`. Raises MultiBufferUnusable; WrongSignature if a signature is not valid; then no
        signature is returned.
        """
        signatures = self._library.sign_blocks([_pad(text) for text in texts], self._parts)
        for text, signature in zip(texts, signatures, strict=True):
            try:
                self._public.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature as exc:
                raise WrongSignature("the library returned a signature that is not valid") from exc
        return signatures


def find_library() -> MultiBufferLibrary:
    """Load the installed library: that of this Python environment, otherwise the distribution's.

    Raises MultiBufferNotInstalled; MultiBufferUnusable, with the reason for each file that was tried.
    """
    reasons: list[MultiBufferUnusable] = []
    for file in _candidate_files():
        try:
            return open_library(file)
        except MultiBufferUnusable as exc:
            reasons.append(exc)
    folders = ", ".join(map(str, _library_folders()))
    is_installed = any(not isinstance(each, MultiBufferNotInstalled) for each in reasons)
    raise (MultiBufferUnusable if is_installed else MultiBufferNotInstalled)(
        f"{'; '.join(each.message for each in reasons)}; searched {folders} and the loader's path"
    )


def open_library(file: str) -> MultiBufferLibrary:
    """Load the library from a file, or by a name that the dynamic loader resolves.

    Raises MultiBufferUnusable; MultiBufferNotInstalled if the file does not exist.
    """
    try:
        return MultiBufferLibrary(_load(file), file)
    except OSError as exc:
        # The loader names the missing file, which may be another one that the library is linked to.
        is_missing = file in str(exc) and "No such file" in str(exc)
        error = MultiBufferNotInstalled if is_missing else MultiBufferUnusable
        raise error(f"the library cannot be loaded: {exc}") from exc


def _load(file: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(file)
    except OSError as exc:
        if not any(name in str(exc) for name in RUNTIME):
            raise
    load_stubs(RUNTIME)
    return ctypes.CDLL(file)


def _candidate_files() -> Iterator[str]:
    """Yield the files and names to try: this environment first, then what the dynamic loader finds."""
    for folder in _library_folders():
        yield from (str(folder / name) for name in SONAMES if (folder / name).exists())
    yield from SONAMES


def _library_folders() -> list[Path]:
    """Return the folders in which Python packages install libraries; on Debian, two paths differ."""
    return [Path(each, "lib") for each in dict.fromkeys((sys.prefix, sysconfig.get_path("data")))]


def _resolve_loaded_file(name: str) -> str:
    """Return the file that the dynamic loader resolved a name to."""
    maps = Path("/proc/self/maps").read_text(errors="replace")
    found = re.search(rf"/\S*{re.escape(name)}\S*$", maps, re.MULTILINE)
    return found[0] if found else name


def _wipe(buffers: Sequence[Any]) -> None:
    for buffer in buffers:
        ctypes.memset(buffer, 0, len(buffer))


def _lane_pointers(buffer: Any, count: int) -> Any:
    return _Pointers(*(ctypes.addressof(buffer) + _SIZE * lane for lane in range(count)))


def _pad(text: bytes) -> bytes:
    return _HEAD + hashlib.sha256(text).digest()
