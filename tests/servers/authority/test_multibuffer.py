"""Batch signing of tokens by an authority, with the installed library or without one."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from podpass.crypto import jose
from podpass.crypto.multibuffer import library
from podpass.servers.authority.worker import open_multibuffer
from tests.servers.authority.running import TOKEN, Authority, closing_connection, token_form

pytestmark = pytest.mark.processes

MADE = 'podpass_exchange_signatures_total{by="%s"}'
HEAD = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def installed() -> str:
    try:
        return library.find_library().file
    except library.MultiBufferUnusable as exc:
        pytest.skip(exc.message)


def _request_in_one_iteration(authority: Authority, count: int) -> list[str]:
    """Send requests while the worker is stopped, so that it reads all of them in one event-loop iteration."""
    (worker,) = authority.facts["workers"]
    body = urlencode(token_form())
    with contextlib.ExitStack() as stack:
        asking = [
            stack.enter_context(closing_connection(authority.connect())) for _ in range(count)
        ]
        for each in asking:
            assert authority.request_token(each).status == 200
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


def test_concurrent_tokens_are_signed_in_one_batch(authority: Authority, installed: str) -> None:
    authority.start(workers=1)
    assert authority.events("multibuffer_loaded")[0]["library"] == installed
    tokens: list[str] = []

    def is_signed_in_one_batch() -> bool:
        tokens.extend(_request_in_one_iteration(authority, 8))
        return authority.metrics()[MADE % "batch"] >= 3

    authority.until(is_signed_in_one_batch)
    _check(authority, tokens)


def test_openssl_signs_without_multibuffer_library(authority: Authority) -> None:
    authority.start(workers=1, multibuffer="none")
    _check(authority, _request_in_one_iteration(authority, 8))
    authority.wait_for_counter(MADE % "openssl", 16)
    assert authority.metrics()[MADE % "batch"] == 0
    assert not authority.events("multibuffer_loaded")


def test_unusable_configured_library_fails_the_start(authority: Authority) -> None:
    """Fails if it falls back silently: the operator relies on the speed of the configured library."""
    process = authority.launch(workers=1, multibuffer="/nowhere/libcrypto_mb.so.13")
    assert process.wait(30) != 0
    assert "cannot be loaded: /nowhere/libcrypto_mb.so.13" in authority.log
    assert "--multibuffer none" in authority.log


def test_library_that_was_not_requested_is_reported_at_debug_level_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    monkeypatch.setattr(library, "SONAMES", ("libnone_mb.so.13",))
    monkeypatch.setattr(library, "_library_folders", lambda: [tmp_path])
    key: Any = None  # no library is found that could load it
    heartbeat: Any = SimpleNamespace(set_state=lambda **_: None)
    assert open_multibuffer("auto", key, heartbeat) is None
    assert caplog.records == []
    (tmp_path / "libnone_mb.so.13").write_text("no library")
    assert open_multibuffer("auto", key, heartbeat) is None
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, "podpass")
    assert open_multibuffer("auto", key, heartbeat) is None
    assert [each.getMessage() for each in caplog.records] == ["multibuffer_not_loaded"]


def test_library_without_path_is_refused(authority: Authority) -> None:
    """Without a path, the loader would search its own directories for the library."""
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


def _compile_broken_library(folder: Path, fault: str) -> str:
    """Compile a library with the functions of the real one, and an error."""
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
        ("return 0", "the library returned a signature that is not valid"),
        ("return 2", "the library refused a text or the key"),
        (
            "__builtin_trap()",
            "the process opened the multi-buffer library; `--multibuffer none` disables it",
        ),
    ],
)
def test_library_that_cannot_sign_is_detected_at_start(
    authority: Authority, tmp_path: Path, fault: str, said: str
) -> None:
    """Fails without a test at the start: each worker would become ready and crash at its first batch."""
    process = authority.launch(
        workers=1, multibuffer=_compile_broken_library(tmp_path, fault), start_seconds=5
    )
    assert process.wait(60) != 0
    assert said in authority.log
