"""The documents of an issuer in Azure Storage and in an S3-compatible bucket, with the released SDKs."""

import base64
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.storage.blob import ContainerClient
from minio import Minio

from podpass.assertion.publishing import documents
from podpass.assertion.publishing.model import IssuerError
from podpass.assertion.publishing.publish import publish
from podpass.assertion.publishing.rotation import StepFailed
from podpass.assertion.publishing.targets import PublishTarget, TargetError, open_target
from tests.assertion.publishing import issuer as issuers
from tests.assertion.publishing.issuer import Issuer
from tests.clients import toolchains
from tests.clients.installation import install_python
from tests.ports import free_port

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]
ACCOUNT = "issuerstore"
KEY = base64.b64encode(b"a key of the emulator").decode()
BUCKET = "issuer"


@contextmanager
def _serving(
    command: list[str], port: int, environ: dict[str, str], folder: Path
) -> Iterator[None]:
    with subprocess.Popen(
        command,
        env={**os.environ, **environ},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            deadline = time.monotonic() + 120
            while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
                assert running.poll() is None, "the store has exited"
                assert time.monotonic() < deadline, "the store does not start"
                time.sleep(0.1)
            yield
        finally:
            running.terminate()


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Run Azurite with the container of a static website; return its URL and its CA file."""
    folder, port, ca = tmp_path_factory.mktemp("azurite"), free_port(), trustme.CA()
    leaf = ca.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    command = [
        *toolchains.azurite(),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)),
        *("--cert", "cert.pem", "--key", "key.pem"),
        *("--silent", "--skipApiVersionCheck", "--disableTelemetry"),
    ]
    url = f"https://127.0.0.1:{port}/{ACCOUNT}/$web"
    ca_file = str(folder / "ca.pem")
    with _serving(command, port, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}, folder):
        container = ContainerClient.from_container_url(
            url, credential=KEY, connection_verify=ca_file
        )
        container.create_container()
        yield url, ca_file


@pytest.fixture
def azure_url(azurite: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    url, ca_file = azurite
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    return url


@pytest.fixture(scope="module")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto with a bucket; return its URL."""
    port = free_port()
    command = [*install_python("moto[server]"), "-m", "moto.server", "-H", "127.0.0.1"]
    folder = tmp_path_factory.mktemp("moto")
    with (
        pytest.MonkeyPatch.context() as patch,
        _serving([*command, "-p", str(port)], port, {}, folder),
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        store = Minio(
            endpoint=f"127.0.0.1:{port}", access_key="key", secret_key="secret", secure=False
        )
        store.make_bucket(bucket_name=BUCKET)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=["azure", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> PublishTarget:
    if request.param == "azure":
        return _azure(request.getfixturevalue("azure_url"))
    endpoint = request.getfixturevalue("s3_url")
    return open_target(f"s3://{BUCKET}/{tmp_path.name}", Path("/"), {}, endpoint)


def _azure(url: str, key: str = KEY) -> PublishTarget:
    return open_target(f"azure:{url}", Path("/"), {"AZURE_STORAGE_KEY": key})


class TargetIssuer(Issuer):
    """An issuer that publishes to a given target, by the real clock."""

    target: PublishTarget

    def tools(self) -> Any:
        return replace(super().tools(), target=self.target)


def _issuer(folder: Path, target: PublishTarget) -> TargetIssuer:
    made = issuers.create(folder)
    issuer = TargetIssuer(folder=made.folder, clock=made.clock, config=made.config)
    issuer.target = target
    issuer.clock.now = time.time()
    issuer.rotate(start=False, accept_clock=True)
    return issuer


def test_read_returns_none_for_a_missing_file_and_otherwise_the_last_write(
    target: PublishTarget,
) -> None:
    assert target.read("missing/file") is None
    now = target.write("some/file", b"one")
    assert now is not None
    assert abs(now - time.time()) < 60
    target.write("some/file", b"two")
    assert target.read("some/file") == b"two"


def test_rotation_publishes_both_keys(target: PublishTarget, tmp_path: Path) -> None:
    issuer = _issuer(tmp_path / "issuer", target)
    old = issuer.state.active.kid
    issuer.rotate()
    body = target.read(documents.JWKS)
    assert body is not None
    assert len(documents.key_ids(body)) == 2
    assert old in documents.key_ids(body)
    assert documents.issuer_of(target.read(documents.DISCOVERY) or b"") == issuers.ISSUER


def test_clock_is_compared_with_that_of_the_store(target: PublishTarget, tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer")
    with pytest.raises(IssuerError, match="the clock differs by"):
        publish(target, "https://clock.example/", issuer.state, issuer.clock, replace=True)


def test_published_blob_is_json_for_every_reader(azure_url: str) -> None:
    target = _azure(azure_url)
    target.write("some/document", b"{}")
    blob = ContainerClient.from_container_url(azure_url, credential=KEY).get_blob_client(
        "some/document"
    )
    settings = blob.get_blob_properties().content_settings
    assert settings.content_type == "application/json"
    assert settings.cache_control == "public, max-age=300"


def test_missing_container_and_wrong_key_are_reported_without_the_key(azure_url: str) -> None:
    with pytest.raises(TargetError, match="ContainerNotFound"):
        _azure(azure_url.replace("$web", "other")).read(documents.JWKS)
    wrong = base64.b64encode(b"another key").decode()
    with pytest.raises(TargetError, match=r"cannot write .*: Auth") as got:
        _azure(azure_url, wrong).write(documents.JWKS, b"{}")
    assert wrong not in f"{got.value.message}{got.value.hint}{got.value.facts}"


def test_missing_bucket_is_reported(s3_url: str) -> None:
    target = open_target("s3://other/x", Path("/"), {}, s3_url)
    with pytest.raises(
        TargetError, match="cannot read openid/v1/jwks in s3://other/x/: NoSuchBucket"
    ):
        target.read(documents.JWKS)


def test_rotation_with_an_unavailable_store_names_the_step_and_resumes_later(
    s3_url: str, tmp_path: Path
) -> None:
    issuer = _issuer(tmp_path / "issuer", open_target(f"s3://{BUCKET}/away", Path("/"), {}, s3_url))
    active = issuer.state.active.kid
    port = free_port()
    issuer.target = open_target(f"s3://{BUCKET}/away", Path("/"), {}, f"http://127.0.0.1:{port}")
    with pytest.raises(StepFailed, match="step publish: cannot read") as got:
        issuer.rotate()
    assert "it continues with this step" in got.value.hint
    issuer.target = open_target(f"s3://{BUCKET}/away", Path("/"), {}, s3_url)
    issuer.rotate()
    assert issuer.state.active.kid == active
    assert len(issuer.state.published) == 2
