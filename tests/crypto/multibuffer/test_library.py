"""Signatures by the multi-buffer library: the same as OpenSSL's, or an error."""

import ctypes
import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from podpass.crypto.jose import generate_rsa
from podpass.crypto.multibuffer import library as multibuffer

TEXTS = [f"header.claims-{number}".encode() for number in range(multibuffer.LANES)]
KEY = generate_rsa()


def _has_ifma() -> bool:
    known = Path("/proc/cpuinfo")
    return known.exists() and "avx512ifma" in known.read_text()


@pytest.fixture(scope="module")
def library() -> multibuffer.MultiBufferLibrary:
    if not _has_ifma():
        pytest.skip("the processor has no AVX-512 IFMA")
    return multibuffer.find_library()


def _sign_with_openssl(key: rsa.RSAPrivateKey, text: bytes) -> bytes:
    return key.sign(text, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("count", range(1, multibuffer.LANES + 1))
def test_signatures_equal_those_of_openssl(
    library: multibuffer.MultiBufferLibrary, count: int
) -> None:
    signatures = library.load(KEY).sign(TEXTS[:count])
    assert signatures == [_sign_with_openssl(KEY, text) for text in TEXTS[:count]]


def test_each_loaded_key_gives_its_own_signatures(library: multibuffer.MultiBufferLibrary) -> None:
    others = [generate_rsa() for _ in range(3)]
    loaded = [library.load(key) for key in others]
    for key, one in zip(others, loaded, strict=True):
        assert one.sign(TEXTS) == [_sign_with_openssl(key, text) for text in TEXTS]


@pytest.mark.parametrize("part", range(5))
def test_invalid_signature_is_never_returned(
    library: multibuffer.MultiBufferLibrary, part: int
) -> None:
    """Faulty memory can change a part of the key; then gcd(s^e - m, n) is a prime of the key."""
    key = library.load(KEY)
    at = ctypes.addressof(key._numbers[part]) + 8
    ctypes.memset(at, ctypes.string_at(at, 1)[0] ^ 0x10, 1)
    with pytest.raises(multibuffer.WrongSignature) as caught:
        key.sign(TEXTS[:3])
    assert caught.value.code == "wrong_multibuffer_signature"


@pytest.mark.parametrize("lane", range(multibuffer.LANES))
def test_each_signature_of_a_batch_is_verified(
    library: multibuffer.MultiBufferLibrary, lane: int
) -> None:
    """A fault may affect only one lane. The test fails if only some signatures are verified."""
    key = library.load(KEY)
    faulty = ctypes.create_string_buffer(key._numbers[2].raw)
    ctypes.memset(ctypes.addressof(faulty) + 8, faulty.raw[8] ^ 0x10, 1)
    key._parts[2][lane] = ctypes.addressof(faulty)
    with pytest.raises(multibuffer.WrongSignature):
        key.sign(TEXTS)


@pytest.mark.parametrize("lane", range(multibuffer.LANES))
def test_status_of_each_lane_is_checked(library: multibuffer.MultiBufferLibrary, lane: int) -> None:
    key = library.load(KEY)
    key._parts[0][lane] = None
    with pytest.raises(multibuffer.MultiBufferUnusable, match="refused"):
        key.sign(TEXTS)


def test_scratch_buffer_and_key_are_wiped(library: multibuffer.MultiBufferLibrary) -> None:
    """The library leaves residues of the primes in its scratch buffer, which would reveal them."""
    key = library.load(KEY)
    key.sign(TEXTS)
    assert not any(library._scratch.raw)
    numbers = key._numbers
    assert all(any(number.raw) for number in numbers)
    del key
    gc.collect()
    assert not any(any(number.raw) for number in numbers)


def test_threads_do_not_share_the_scratch_buffer(library: multibuffer.MultiBufferLibrary) -> None:
    """Fails without the lock: threads would overwrite each other's scratch buffer."""
    keys = [library.load(generate_rsa()) for _ in range(4)]
    with ThreadPoolExecutor(len(keys)) as pool:
        found = pool.map(lambda key: [key.sign(TEXTS) for _ in range(100)], keys)
        assert all(len(signed) == 100 for signed in found)


def _key_with_unequal_primes() -> rsa.RSAPrivateKey:
    """Generate a key of 2048 bits whose primes have 1040 and 1008 bits."""
    for _ in range(50):
        p, q = (rsa.generate_private_key(65537, bits).private_numbers().p for bits in (2080, 2016))
        d = pow(65537, -1, (p - 1) * (q - 1))
        public = rsa.RSAPublicNumbers(65537, p * q)
        if public.n.bit_length() == multibuffer.BITS:
            parts = (d % (p - 1), d % (q - 1), pow(q, -1, p))
            return rsa.RSAPrivateNumbers(p, q, d, *parts, public).private_key()
    raise AssertionError("no such key")


def test_key_with_unequal_primes_is_rejected(library: multibuffer.MultiBufferLibrary) -> None:
    """The library has 1024 bits for each prime."""
    with pytest.raises(multibuffer.MultiBufferUnusable, match="primes of equal size"):
        library.load(_key_with_unequal_primes())


def test_text_that_the_library_refuses_raises_an_error(
    library: multibuffer.MultiBufferLibrary,
) -> None:
    """Fails if the status is not checked: the signature would be the zeros of the output buffer."""
    with pytest.raises(multibuffer.MultiBufferUnusable, match="refused"):
        library.sign_blocks([b"\x01".rjust(256, b"\x00")], [multibuffer._Pointers()] * 5)


@pytest.mark.parametrize("bits", [3072, 4096])
def test_key_of_another_size_is_rejected(
    library: multibuffer.MultiBufferLibrary, bits: int
) -> None:
    with pytest.raises(multibuffer.MultiBufferUnusable, match="2048"):
        library.load(rsa.generate_private_key(65537, bits))


def test_missing_library_file_is_named_in_the_error() -> None:
    with pytest.raises(
        multibuffer.MultiBufferUnusable, match=r"cannot be loaded: /nowhere/libcrypto_mb\.so\.13"
    ):
        multibuffer.open_library("/nowhere/libcrypto_mb.so.13")


@pytest.mark.skipif(find_library("m") is None, reason="no C library is found here")
def test_other_library_is_rejected() -> None:
    name = find_library("m") or ""
    with pytest.raises(multibuffer.MultiBufferUnusable, match="another library"):
        multibuffer.open_library(name)


AVX512, AVX2 = (
    0xA303100000,
    0x10000028220,
)  # MBX_AVX512_GENERAL_ISA; MBX_AVX2_GENERAL_ISA and AVX-IFMA


def _fake_library(
    *, lanes: int = 8, features: int = AVX512, method: int = 1, scratch: int = 100
) -> Any:
    """Create a fake library with the given capabilities of a processor."""

    def returning(value: int) -> Any:
        def function(*_: object) -> int:
            return value

        return function

    return SimpleNamespace(
        mbx_get_algo_info=returning(lanes),
        mbx_get_cpu_features=returning(features),
        mbx_RSA2K_private_crt_Method=returning(method),
        mbx_RSA_Method_BufSize=returning(scratch),
        mbx_rsa_private_crt_mb8=returning(0),
    )


@pytest.mark.parametrize("reported", [{"lanes": 0}, {"lanes": 8, "features": AVX2}])
def test_unsupported_processor_is_rejected(reported: dict[str, int]) -> None:
    """Fails if the features are not checked: the library would run an illegal instruction, or slower code."""
    with pytest.raises(multibuffer.MultiBufferUnusable, match="no AVX-512 IFMA"):
        multibuffer.MultiBufferLibrary(_fake_library(**reported), "libcrypto_mb.so.13")


@pytest.mark.parametrize("reported", [{"method": 0}, {"scratch": 0}, {"scratch": -1}])
def test_library_without_rsa2048_method_is_rejected(reported: dict[str, int]) -> None:
    """The first batch of such a library would crash the process."""
    with pytest.raises(multibuffer.MultiBufferUnusable, match="no method for RSA-2048"):
        multibuffer.MultiBufferLibrary(_fake_library(**reported), "/a/libcrypto_mb.so.13")


def test_missing_library_error_lists_every_searched_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multibuffer, "SONAMES", ("libnone_mb.so.13", "libnone_mb.so.12"))
    with pytest.raises(multibuffer.MultiBufferNotInstalled) as caught:
        multibuffer.find_library()
    for name in ("libnone_mb.so.13", "libnone_mb.so.12", f"{sys.prefix}/lib"):
        assert name in caught.value.message
