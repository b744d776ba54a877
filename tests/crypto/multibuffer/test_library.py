"""Signatures by the multi-buffer library: the same as OpenSSL's, or none."""

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
def library() -> multibuffer.Library:
    if not _has_ifma():
        pytest.skip("the processor has no AVX-512 IFMA")
    return multibuffer.find()


def _openssl(key: rsa.RSAPrivateKey, text: bytes) -> bytes:
    return key.sign(text, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("count", range(1, multibuffer.LANES + 1))
def test_its_signatures_are_those_of_openssl(library: multibuffer.Library, count: int) -> None:
    signatures = library.load(KEY).sign(TEXTS[:count])
    assert signatures == [_openssl(KEY, text) for text in TEXTS[:count]]


def test_keys_that_were_loaded_do_not_mix(library: multibuffer.Library) -> None:
    others = [generate_rsa() for _ in range(3)]
    loaded = [library.load(key) for key in others]
    for key, one in zip(others, loaded, strict=True):
        assert one.sign(TEXTS) == [_openssl(key, text) for text in TEXTS]


@pytest.mark.parametrize("part", range(5))
def test_no_wrong_signature_leaves_it(library: multibuffer.Library, part: int) -> None:
    """A fault in a part of the key, as bad memory makes it: gcd(s^e - m, n) is a prime then."""
    key = library.load(KEY)
    at = ctypes.addressof(key._numbers[part]) + 8
    ctypes.memset(at, ctypes.string_at(at, 1)[0] ^ 0x10, 1)
    with pytest.raises(multibuffer.WrongSignature) as caught:
        key.sign(TEXTS[:3])
    assert caught.value.code == "multibuffer_wrong_signature"


@pytest.mark.parametrize("lane", range(multibuffer.LANES))
def test_each_of_a_batch_is_checked(library: multibuffer.Library, lane: int) -> None:
    """A fault hits one lane alone; fails when only some of them are checked."""
    key = library.load(KEY)
    faulty = ctypes.create_string_buffer(key._numbers[2].raw)
    ctypes.memset(ctypes.addressof(faulty) + 8, faulty.raw[8] ^ 0x10, 1)
    key._parts[2][lane] = ctypes.addressof(faulty)
    with pytest.raises(multibuffer.WrongSignature):
        key.sign(TEXTS)


@pytest.mark.parametrize("lane", range(multibuffer.LANES))
def test_the_status_of_each_lane_is_read(library: multibuffer.Library, lane: int) -> None:
    key = library.load(KEY)
    key._parts[0][lane] = None
    with pytest.raises(multibuffer.Unusable, match="refused"):
        key.sign(TEXTS)


def test_nothing_of_a_key_stays_where_it_was_worked_with(library: multibuffer.Library) -> None:
    """What the library leaves in its room are residues of the primes, which give them away."""
    key = library.load(KEY)
    key.sign(TEXTS)
    assert not any(library._room.raw)
    numbers = key._numbers
    assert all(any(number.raw) for number in numbers)
    del key
    gc.collect()
    assert not any(any(number.raw) for number in numbers)


def test_one_works_in_its_room_at_a_time(library: multibuffer.Library) -> None:
    """Fails without the lock: threads would write over, and wipe, what others work with."""
    keys = [library.load(generate_rsa()) for _ in range(4)]
    with ThreadPoolExecutor(len(keys)) as pool:
        found = pool.map(lambda key: [key.sign(TEXTS) for _ in range(100)], keys)
        assert all(len(signed) == 100 for signed in found)


def _of_unequal_primes() -> rsa.RSAPrivateKey:
    """Make a key of 2048 bits whose primes have 1040 and 1008."""
    for _ in range(50):
        p, q = (rsa.generate_private_key(65537, bits).private_numbers().p for bits in (2080, 2016))
        d = pow(65537, -1, (p - 1) * (q - 1))
        public = rsa.RSAPublicNumbers(65537, p * q)
        if public.n.bit_length() == multibuffer.BITS:
            parts = (d % (p - 1), d % (q - 1), pow(q, -1, p))
            return rsa.RSAPrivateNumbers(p, q, d, *parts, public).private_key()
    raise AssertionError("no such key")


def test_a_key_of_unequal_primes_is_not_taken(library: multibuffer.Library) -> None:
    """Each has a place of 1024 bits."""
    with pytest.raises(multibuffer.Unusable, match="equal primes"):
        library.load(_of_unequal_primes())


def test_what_the_library_refuses_is_no_signature(library: multibuffer.Library) -> None:
    """Fails when the status is not read: the answer would be what the room was filled with, zeros."""
    with pytest.raises(multibuffer.Unusable, match="refused"):
        library.raise_blocks([b"\x01".rjust(256, b"\x00")], [multibuffer._Pointers()] * 5)


@pytest.mark.parametrize("bits", [3072, 4096])
def test_a_key_of_another_length_is_not_taken(library: multibuffer.Library, bits: int) -> None:
    with pytest.raises(multibuffer.Unusable, match="2048"):
        library.load(rsa.generate_private_key(65537, bits))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(
        multibuffer.Unusable, match=r"cannot be loaded: /nowhere/libcrypto_mb\.so\.13"
    ):
        multibuffer.open_file("/nowhere/libcrypto_mb.so.13")


@pytest.mark.skipif(find_library("m") is None, reason="no C library is found here")
def test_another_library_is_told_as_such() -> None:
    name = find_library("m") or ""
    with pytest.raises(multibuffer.Unusable, match="another library"):
        multibuffer.open_file(name)


AVX512, AVX2 = (
    0xA303100000,
    0x10000028220,
)  # MBX_AVX512_GENERAL_ISA; MBX_AVX2_GENERAL_ISA and AVX-IFMA


def _library(*, lanes: int = 8, features: int = AVX512, method: int = 1, room: int = 100) -> Any:
    """Make what the library looks like on some processor."""

    def answers(value: int) -> Any:
        def function(*_: object) -> int:
            return value

        return function

    return SimpleNamespace(
        mbx_get_algo_info=answers(lanes),
        mbx_get_cpu_features=answers(features),
        mbx_RSA2K_private_crt_Method=answers(method),
        mbx_RSA_Method_BufSize=answers(room),
        mbx_rsa_private_crt_mb8=answers(0),
    )


@pytest.mark.parametrize("told", [{"lanes": 0}, {"lanes": 8, "features": AVX2}])
def test_a_processor_that_it_is_not_made_for_is_told(told: dict[str, int]) -> None:
    """Fails when nobody asks: the library would use an instruction that is not there, or its slower way."""
    with pytest.raises(multibuffer.Unusable, match="no AVX-512 IFMA"):
        multibuffer.Library(_library(**told), "libcrypto_mb.so.13")


@pytest.mark.parametrize("told", [{"method": 0}, {"room": 0}, {"room": -1}])
def test_a_library_that_gives_no_way_or_no_room_is_not_used(told: dict[str, int]) -> None:
    """Its first batch would end the process."""
    with pytest.raises(multibuffer.Unusable, match="no way to sign"):
        multibuffer.Library(_library(**told), "/a/libcrypto_mb.so.13")


def test_where_none_is_installed_each_name_that_was_looked_for_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multibuffer, "SONAMES", ("libnone_mb.so.13", "libnone_mb.so.12"))
    with pytest.raises(multibuffer.Unusable) as caught:
        multibuffer.find()
    for name in ("libnone_mb.so.13", "libnone_mb.so.12", f"{sys.prefix}/lib"):
        assert name in caught.value.message
