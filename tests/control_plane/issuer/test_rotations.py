"""Rotations under load on a real API server: no token is rejected, whatever is killed."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from podpass.assertion.publishing.model import SigningMode
from podpass.lab.cluster.control_plane.programs import API_SERVER
from tests.control_plane import plane
from tests.control_plane.issuer import issuer_loop
from tests.control_plane.issuer.issuer_loop import IssuerLoop
from tests.run_program import run_text

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]

# 20 in a long run: PODPASS_TEST_ROTATIONS=20.
ROTATIONS = int(os.environ.get("PODPASS_TEST_ROTATIONS", "1"))
# A restart of the only API server is the one time without signatures that the guide documents.
RESTART_SECONDS = 90.0
_FIRST_SIGNER = (1, 36)
_IN_FLIGHT = "while signing jwt: rpc error: code = Unavailable"


def _require_external_signer() -> None:
    command = [str(plane.programs().api_server), "--version"]
    text = run_text(command, check=True).stdout
    found = re.search(r"v(\d+)\.(\d+)\.", text)
    assert found, text
    if (int(found[1]), int(found[2])) < _FIRST_SIGNER:
        pytest.skip(
            "the external signer needs Kubernetes 1.36: make test-kubernetes KUBERNETES=1.37.2"
        )


def _advance(loop: IssuerLoop, text: str) -> bool:
    """Do what a rotation waits for; return whether it has ended."""
    found = json.loads(text)
    if found["done"]:
        return True
    reason = found["reason"]
    if "must accept the key: restart" in reason or "must sign with the key: restart" in reason:
        loop.load.is_restarting = True
        # Not with SIGTERM: an API server may then wait a minute for open watches.
        loop.plane.kill(API_SERVER)
        loop.load.is_restarting = False
    elif "have not expired" in reason:
        # The tokens of the old key reach the end of their life: clients have replaced them.
        loop.load.replace_tokens()
        loop.ahead += issuer_loop.WAITS.token_seconds + 301
    else:
        time.sleep(1)  # a wait of a few real seconds: caches and the refresh of the API server
    return False


def _rotate(loop: IssuerLoop, kill_at: int) -> None:
    """Run one rotation to its end; the first run with `kill_at` changes of the disk is killed there."""
    before, is_killed, is_started = loop.folder.read_state().active.kid, False, False
    for _ in range(400):
        arguments = ["--older-than", "3650"] if is_started else []
        done = loop.rotate(0 if is_killed else kill_at, *arguments)
        state = loop.folder.read_state()
        is_started = is_started or len(state.keys) > 1
        loop.kill_signer()
        if done.returncode != 0:
            is_killed = True
            is_started = is_started or state.active.kid != before
        elif _advance(loop, done.stdout):
            assert loop.folder.read_state().active.kid != before
            return
    raise AssertionError("the rotation does not end")


def _check(loop: IssuerLoop) -> None:
    load = loop.load
    load.replace_tokens()
    print(
        f"{ROTATIONS} rotations: {load.signed} tokens signed, {load.exchanged} exchanged,"
        f" {len(load.rejected)} rejected, {len(load.failures)} failures,"
        f" longest time for a signature {max(load.outages):.2f} s; {loop.kills} runs and"
        f" {loop.signer_kills} signers killed"
    )
    assert load.rejected == []
    # Only a request that the signer has received at the moment of a kill fails; the kubelet repeats it.
    assert [each for each in load.failures if _IN_FLIGHT not in each] == []
    # A repeated request can reach the closed connection once more.
    assert len(load.failures) <= 2 * loop.signer_kills * issuer_loop.WORKERS


def test_no_token_is_rejected_while_keys_rotate_by_files(tmp_path: Path) -> None:
    with issuer_loop.running(tmp_path, SigningMode.FILES) as loop:
        for number in range(ROTATIONS):
            _rotate(loop, kill_at=number + 1)
        _check(loop)
        assert max(loop.load.outages) < RESTART_SECONDS


def test_no_token_is_rejected_while_keys_rotate_by_the_external_signer(tmp_path: Path) -> None:
    """The signer is killed after each run of a rotation; API servers wait for the next one."""
    _require_external_signer()
    with issuer_loop.running(tmp_path, SigningMode.SIGNER) as loop:
        for number in range(ROTATIONS):
            _rotate(loop, kill_at=number + 1)
        _check(loop)
