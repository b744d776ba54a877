"""Signatures by the multi-buffer library: the same as OpenSSL's, or none."""

import ctypes
from ctypes.util import find_library
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from podpass import multibuffer
from podpass.jose import generate_rsa

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


def test_what_the_library_refuses_is_no_signature(library: multibuffer.Library) -> None:
    """Fails when the status is not read: the answer would be what the room was filled with, zeros."""
    with pytest.raises(multibuffer.Unusable, match="refused"):
        library.raw([b"\x01".rjust(256, b"\x00")], [multibuffer._Pointers()] * 5)


@pytest.mark.parametrize("bits", [3072, 4096])
def test_a_key_of_another_length_is_not_taken(library: multibuffer.Library, bits: int) -> None:
    with pytest.raises(multibuffer.Unusable, match="2048"):
        library.load(rsa.generate_private_key(65537, bits))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(
        multibuffer.Unusable, match=r"/nowhere/libcrypto_mb\.so\.13 cannot be loaded"
    ):
        multibuffer.open_file("/nowhere/libcrypto_mb.so.13")


@pytest.mark.skipif(find_library("m") is None, reason="no C library is found here")
def test_another_library_is_told_as_such() -> None:
    name = find_library("m") or ""
    with pytest.raises(multibuffer.Unusable, match="another library"):
        multibuffer.open_file(name)


def _processor(*, lanes: int) -> Any:
    """Make what the library looks like on a processor whose signatures it makes so many at a time."""
    names = ("mbx_get_algo_info", "mbx_RSA2K_private_crt_Method", "mbx_RSA_Method_BufSize")

    def answers(value: int) -> Any:
        def function(*_: object) -> int:
            return value

        return function

    functions = {name: answers(lanes) for name in names}
    return SimpleNamespace(**functions, mbx_rsa_private_crt_mb8=answers(0))


def test_a_processor_that_it_is_not_made_for_is_told() -> None:
    """Fails when nobody asks: the library's function would answer with an instruction that is none there."""
    with pytest.raises(multibuffer.Unusable, match="no AVX-512 IFMA"):
        multibuffer.Library(_processor(lanes=0), "libcrypto_mb.so.13")


def test_where_none_is_installed_each_name_that_was_looked_for_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multibuffer, "SONAMES", ("libnone_mb.so.13", "libnone_mb.so.12"))
    with pytest.raises(multibuffer.Unusable) as caught:
        multibuffer.find()
    assert "libnone_mb.so.13 cannot be loaded" in caught.value.message
    assert "libnone_mb.so.12 cannot be loaded" in caught.value.message
