"""Tokens of an authority signed several at a time, by the library that is installed or none."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest

from podpass.crypto import jose
from podpass.crypto.multibuffer import library
from tests.servers.authority.running import TOKEN, Authority, closing_connection, token_form

MADE = 'podpass_exchange_signatures_total{by="%s"}'
HEAD = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def installed() -> str:
    try:
        return library.find().file
    except library.Unusable as exc:
        pytest.skip(exc.message)


def _ask_at_once(authority: Authority, count: int) -> list[str]:
    """Ask so often while the worker is held, so that all requests come in one turn of its loop."""
    (worker,) = authority.facts["workers"]
    body = urlencode(token_form())
    with contextlib.ExitStack() as stack:
        asking = [
            stack.enter_context(closing_connection(authority.connect())) for _ in range(count)
        ]
        for each in asking:
            assert authority.ask(each).status == 200
        os.kill(worker, signal.SIGSTOP)
        try:
            for each in asking:
                each.request("POST", TOKEN, body, HEAD)
        finally:
            os.kill(worker, signal.SIGCONT)
        answers = [each.getresponse() for each in asking]
        assert [answer.status for answer in answers] == [200] * count
        return [jose.loads_object(answer.read())["access_token"] for answer in answers]


def _check(authority: Authority, tokens: list[str]) -> None:
    keys = authority.get("/common/discovery/v2.0/keys", "service").body
    by_kid = {key.kid: key for key in jose.load_jwks(keys)}
    for token in map(jose.parse, tokens):
        jose.verify(token, by_kid[token.kid])
    assert len(set(tokens)) == len(tokens)


def test_tokens_asked_for_at_once_are_signed_together(authority: Authority, installed: str) -> None:
    authority.start(workers=1)
    assert authority.events("multibuffer_used")[0]["library"] == installed
    tokens: list[str] = []

    def signed_together() -> bool:
        tokens.extend(_ask_at_once(authority, 8))
        return authority.metrics()[MADE % "multibuffer"] >= 3

    authority.until(signed_together)
    _check(authority, tokens)


def test_without_it_openssl_signs_them_all(authority: Authority) -> None:
    authority.start(workers=1, multibuffer="none")
    _check(authority, _ask_at_once(authority, 8))
    authority.counted(MADE % "openssl", 16)
    assert authority.metrics()[MADE % "multibuffer"] == 0
    assert not authority.events("multibuffer_used")


def test_a_library_that_was_named_and_cannot_be_used_stops_the_start(authority: Authority) -> None:
    """Fails when it falls back in silence: who names a library counts on its speed."""
    process = authority.launch(workers=1, multibuffer="/nowhere/libcrypto_mb.so.13")
    assert process.wait(30) != 0
    assert "cannot be loaded: /nowhere/libcrypto_mb.so.13" in authority.log
    assert "--multibuffer none" in authority.log


def test_a_library_by_a_name_alone_is_refused(authority: Authority) -> None:
    """Who names one means that one: a loader would look in places of its own for it."""
    process = authority.launch(workers=1, multibuffer="libcrypto_mb.so.13")
    assert process.wait(30) == 2
    assert "want auto, none, or an absolute path" in authority.log


SHIM = """
#include <stdint.h>
#include <string.h>
uint64_t mbx_get_algo_info(int algo) { return 8; }
uint64_t mbx_get_cpu_features(void) { return 0xA303100000; }
const void *mbx_RSA2K_private_crt_Method(void) { return ""; }
int mbx_RSA_Method_BufSize(const void *method) { return 64; }
uint32_t mbx_rsa_private_crt_mb8(void) { FAULT; }
"""


def _broken(folder: Path, fault: str) -> str:
    """Compile a library that has the functions of the real one, and a fault."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, file = folder / "shim.c", folder / "libcrypto_mb.so.13"
    source.write_text(SHIM.replace("FAULT", fault))
    subprocess.run([compiler, "-w", "-shared", "-fPIC", "-o", str(file), str(source)], check=True)
    return str(file)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("return 0", "a signature did not fit its text and key"),
        ("return 2", "the library refused a text or the key"),
        (
            "__builtin_trap()",
            "it opened the multi-buffer library; `--multibuffer none` does without",
        ),
    ],
)
def test_a_library_that_cannot_sign_is_known_before_anybody_asks(
    authority: Authority, tmp_path: Path, fault: str, said: str
) -> None:
    """Fails without a trial: it would be ready, and end at the first batch, again and again."""
    process = authority.launch(workers=1, multibuffer=_broken(tmp_path, fault), start_seconds=5)
    assert process.wait(60) != 0
    assert said in authority.log
