"""`podpass issuer` as a user runs it: keys, documents over HTTPS, a rotation, an interruption."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.ports import free_port
from tests.run_program import run_text

pytestmark = pytest.mark.processes
COMMAND = [sys.executable, "-m", "podpass.cli", "issuer"]


def _run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_text([*COMMAND, *arguments], env={**os.environ, "COLUMNS": "200"}, timeout=90)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def keys(tmp_path: Path, port: int) -> Path:
    """Return a key folder whose issuer is at a local port."""
    folder = tmp_path / "keys"
    issuer = f"https://127.0.0.1:{port}/cluster/"
    _run("keygen", "--dir", str(folder), "--issuer", issuer, "--cache-seconds", "0")
    return folder


@pytest.mark.parametrize("option", ["github", "gitlab", "terraform", "azure-devops", "pipelines"])
def test_serving_a_platform_names_the_command_that_signs_its_tokens(option: str) -> None:
    refused = _run("serve", f"--{option}", status=2).stderr
    assert "podpass up --pipelines github" in refused


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    """Return a CA; the certificate of the issuer is next to it."""
    ca = trustme.CA()
    leaf = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
    (tmp_path / "tls.crt").write_bytes(chain)
    leaf.private_key_pem.write_to_path(tmp_path / "tls.key")
    return tmp_path / "ca.pem"


@pytest.fixture
def served(keys: Path, port: int, ca_file: Path) -> Iterator[Path]:
    """Serve the documents of the key folder."""
    _run("publish", "--dir", str(keys))
    tls = ["--tls-cert-file", str(ca_file.parent / "tls.crt")]
    tls += ["--tls-key-file", str(ca_file.parent / "tls.key")]
    process = subprocess.Popen(
        [*COMMAND, "serve", "--dir", str(keys), "--listen", f"127.0.0.1:{port}", *tls],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "issuer_started" in process.stderr.readline()
    yield keys
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_status_of_a_served_issuer_has_no_problems(served: Path, ca_file: Path) -> None:
    found = json.loads(
        _run("status", "--dir", str(served), "--ca-file", str(ca_file), "-o", "json").stdout
    )
    assert found["problems"] == []
    assert [key["state"] for key in found["keys"]] == ["active"]
    table = _run("status", "--dir", str(served), "--ca-file", str(ca_file)).stdout
    assert found["keys"][0]["kid"] in table


def test_status_fails_if_the_published_documents_have_a_problem(
    served: Path, ca_file: Path
) -> None:
    done = _run("status", "--dir", str(served), status=1)
    assert "cannot be read as verifiers read it: the URL cannot be fetched" in done.stderr
    (served / "published" / "openid/v1/jwks").write_text('{"keys":[]}')
    done = _run("status", "--dir", str(served), "--ca-file", str(ca_file), status=1)
    assert done.stderr.count("lacks the key") == 2, "in the folder, and as verifiers read it"


def test_manual_rotation_names_the_next_action_at_each_step(
    served: Path, port: int, ca_file: Path
) -> None:
    done = _run("rotate", "--dir", str(served))
    assert "waiting: all API servers must accept the key: restart them" in done.stdout
    done = _run("rotate", "--dir", str(served), "--applied")
    assert "waiting: all API servers must sign with the key" in done.stdout
    done = _run("rotate", "--dir", str(served), "--applied", "-o", "json")
    outcome = json.loads(done.stdout)
    assert not outcome["done"]
    assert outcome["reason"] == "tokens of the old key have not expired yet"
    context = ssl.create_default_context(cafile=str(ca_file))
    url = f"https://127.0.0.1:{port}/cluster/openid/v1/jwks"
    with urllib.request.urlopen(url, context=context, timeout=60) as answer:
        assert answer.headers["content-type"] == "application/jwk-set+json"
        assert len(json.load(answer)["keys"]) == 2


def test_option_older_than_rotates_only_a_key_of_that_age(served: Path) -> None:
    done = _run("rotate", "--dir", str(served), "--older-than", "90")
    assert "the rotation is complete" in done.stdout
    assert len(list((served / "keys").iterdir())) == 1
    _run("rotate", "--dir", str(served), "--older-than", "0")
    assert len(list((served / "keys").iterdir())) == 2


def test_ctrl_c_names_the_step_and_the_next_run_continues(served: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    settings = served / "issuer.yaml"
    text = settings.read_text().replace(
        "apply_command: []", f"apply_command: [sh, -c, 'touch {started}; exec sleep 300']"
    )
    settings.write_text(text)
    process = subprocess.Popen(
        [*COMMAND, "rotate", "--dir", str(served)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all processes
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted in step load" in errors
    assert "it continues with this step" in errors
    settings.write_text(text.replace("exec sleep 300", "true"))
    done = _run("rotate", "--dir", str(served))
    assert "waiting until" in done.stdout
    assert len(list((served / "published").rglob("jwks"))) == 1


def test_key_ids_are_completed(keys: Path) -> None:
    (path,) = (keys / "keys").iterdir()
    words = f"podpass issuer rotate --dir {keys} --leaked {path.stem[:3]}"
    environ = {"_PODPASS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "6"}
    done = run_text(
        [sys.executable, "-m", "podpass.cli"], env={**os.environ, **environ}, timeout=60
    )
    assert done.stdout.split() == [f"plain,{path.stem}"], done.stderr


def test_folder_without_an_issuer_is_an_error_with_the_next_command(tmp_path: Path) -> None:
    for command in ("publish", "rotate", "status", "serve"):
        done = _run(command, "--dir", str(tmp_path), status=1)
        assert "create one with `" in done.stderr
        assert "issuer keygen`" in done.stderr


def test_documents_published_by_a_command_are_not_served(tmp_path: Path) -> None:
    folder = str(tmp_path / "keys")
    target = ("--target", "command:true")
    _run("keygen", "--dir", folder, "--issuer", "https://oidc.example/", *target)
    done = _run("serve", "--dir", folder, status=2)
    assert "published to command:true, not to a folder" in done.stderr
