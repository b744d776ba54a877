"""The settings file and the state file: what is accepted, and that nothing else is."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.assertion.publishing import config as config_file
from podpass.assertion.publishing import key_folder, setup
from podpass.assertion.publishing.config import IssuerConfig
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import IssuerError, RotationWaits, SigningMode
from podpass.crypto import jose
from tests.assertion.publishing import issuer as issuers
from tests.assertion.publishing.issuer import ISSUER, Issuer

FULL = IssuerConfig(
    issuer=ISSUER,
    target="s3://bucket/prefix",
    signing=SigningMode.SIGNER,
    waits=RotationWaits(cache_seconds=1, refresh_seconds=2, token_seconds=603),
    kubeconfigs=(Path("/etc/one"), Path("/etc/two")),
    probe_account="kube-system/default",
    apply_command=("sh", "-c", "echo 'a b'"),
    s3_endpoint="https://store.example",
)


def test_written_settings_are_read_back(tmp_path: Path) -> None:
    (tmp_path / config_file.FILE).write_bytes(config_file.encode(FULL))
    assert config_file.read(tmp_path) == FULL


def test_rotation_by_key_files_does_not_wait_for_a_refresh() -> None:
    assert FULL.rotation_waits == FULL.waits
    by_files = IssuerConfig(issuer=ISSUER, target="folder:a", waits=FULL.waits)
    assert by_files.rotation_waits == RotationWaits(
        cache_seconds=1, refresh_seconds=0, token_seconds=603
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"issuer": ""}, "issuer is required"),
        ({"target": None}, "target must be one line of text"),
        ({"signing": "kms"}, "signing must be `files` or `signer`"),
        ({"token_seconds": 599}, "token_seconds must be at least 600"),
        ({"token_seconds": "1h"}, "token_seconds must be a number of seconds"),
        ({"cache_seconds": -1}, "cache_seconds must be a number of seconds"),
        ({"cache_seconds": True}, "cache_seconds must be a number of seconds"),
        ({"refresh_seconds": 0}, "refresh_seconds must be at least 1"),
        ({"probe_account": "default"}, "probe_account must be NAMESPACE/NAME"),
        ({"probe_account": "a/b/../c"}, "probe_account must be NAMESPACE/NAME"),
        ({"kubeconfigs": [1]}, "kubeconfigs must be a list of texts"),
        ({"apply_command": "sh -c 'x"}, "apply_command: No closing quotation"),
        ({"target": "ftp:host"}, "'ftp:host' is not a target: write folder:PATH"),
        ({"target": "command: "}, "has no program"),
        ({"target": "command:a 'b"}, "cannot be split into words"),
        ({"apply_comand": "x"}, "unknown setting 'apply_comand'"),
    ],
)
def test_invalid_issuer_setting_is_refused_with_its_name(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(IssuerError) as got:
        config_file.parse(config_file.document(FULL) | changes, "issuer.yaml")
    assert problem in got.value.message


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(IssuerError) as got:
        config_file.parse({"signing": "x", "other": 1}, "issuer.yaml")
    assert got.value.message.count(";") == 3


def test_damaged_yaml_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / config_file.FILE).write_text("issuer: a\ntarget: [\n")
    with pytest.raises(IssuerError, match=r"issuer.yaml is not YAML, line 3"):
        config_file.read(tmp_path)


# ----------------------------------------------------------------------------------------------- state


def test_written_state_is_read_back(published_issuer: Issuer) -> None:
    published_issuer.rotate()
    state = published_issuer.state
    assert key_folder.decode_state(key_folder.encode_state(state)) == state
    assert b"PRIVATE" not in key_folder.encode_state(state)


def _damage(document: dict[str, Any], kind: str) -> None:
    key = document["keys"][0]
    match kind:
        case "version":
            document["version"] = 2
        case "member":
            document["other"] = 1
        case "no keys":
            document["keys"] = []
        case "no active key":
            key["signs"] = None
        case "twice":
            document["keys"] *= 2
        case "kid of another key":
            key["kid"] = "other"
        case "not a key":
            key["public_pem"] = "x"
        case "time":
            key["published"] = "yesterday"
        case "missing member":
            del key["replaced"]
        case "published":
            document["published"] = "abc"


@pytest.mark.parametrize(
    "kind",
    [
        *("version", "member", "no keys", "no active key", "twice", "kid of another key"),
        *("not a key", "time", "missing member", "published"),
    ],
)
def test_damaged_state_is_refused_and_not_changed(published_issuer: Issuer, kind: str) -> None:
    path = published_issuer.folder.state_path
    document = json.loads(path.read_bytes())
    _damage(document, kind)
    path.write_text(json.dumps(document))
    before = path.read_bytes()
    with pytest.raises(IssuerError, match=r"state\.json: the (state|version)") as got:
        published_issuer.rotate()
    assert got.value.hint == "restore the folder from a backup"
    assert path.read_bytes() == before


# ---------------------------------------------------------------------------------------------- folder


def _create(root: Path, **more: Any) -> str:
    config = IssuerConfig(issuer=more.pop("issuer", ISSUER), target="folder:published")
    return setup.create(
        root, config, **{"imported": None, "bits": 2048, "now": issuers.START, **more}
    ).kid


def test_existing_issuer_is_not_overwritten(tmp_path: Path) -> None:
    _create(tmp_path / "one")
    before = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*.*") if path.is_file()}
    with pytest.raises(IssuerError, match="has an issuer already"):
        _create(tmp_path / "one")
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        ("http://oidc.example/", "is not an https URL"),
        ("oidc.example", "is not an https URL"),
        ("https://oidc.example/?a=b", "a query or a fragment"),
        ("https://oidc.example/#", "a query or a fragment"),
        ("https://user@oidc.example/", "has a user"),
        ("https://oidc.example/ä", "printable ASCII"),
        ("https://oidc.example:0/", "port 0"),
        ("https://oidc.example:x/", "is not a URL"),
        ("https://oidc.example/" + "a" * 600, "longer than 600"),
    ],
)
def test_issuer_that_entra_does_not_accept_is_refused(
    tmp_path: Path, issuer: str, problem: str
) -> None:
    with pytest.raises(IssuerError, match=problem):
        _create(tmp_path / "one", issuer=issuer)
    assert not (tmp_path / "one").exists()


def test_target_that_does_not_exist_is_refused_before_the_folder_is_created(tmp_path: Path) -> None:
    config = IssuerConfig(issuer=ISSUER, target="ftp:host")
    with pytest.raises(IssuerError, match="'ftp:host' is not a target") as got:
        setup.create(tmp_path / "one", config, imported=None, bits=2048, now=issuers.START)
    assert got.value.hint == "correct the options"
    assert not (tmp_path / "one").exists()


def test_parent_that_is_a_file_is_reported_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IssuerError, match="file/one cannot be changed: Not a directory"):
        _create(tmp_path / "file" / "one")


def test_key_of_the_cluster_is_imported(tmp_path: Path) -> None:
    key = jose.generate_rsa()
    (tmp_path / "sa.key").write_bytes(jose.private_key_pem(key))
    kid = _create(tmp_path / "one", imported=tmp_path / "sa.key")
    assert kid == jose.public_key_id(key.public_key())
    assert KeyFolder(tmp_path / "one").read_private(kid).kid == kid


@pytest.mark.parametrize("size", [1024, 4104])
def test_key_of_a_size_that_entra_does_not_accept_is_not_imported(
    tmp_path: Path, size: int
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=size)
    (tmp_path / "sa.key").write_bytes(jose.private_key_pem(key))
    with pytest.raises(IssuerError, match="cannot be the key of an issuer: the RSA modulus") as got:
        _create(tmp_path / "one", imported=tmp_path / "sa.key")
    assert "PRIVATE" not in got.value.message


def test_invalid_key_file_is_not_imported_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "sa.key").write_text("secret text")
    with pytest.raises(IssuerError, match="not a PEM private key") as got:
        _create(tmp_path / "one", imported=tmp_path / "sa.key")
    assert "secret text" not in f"{got.value.message}{got.value.hint}"


# A new key folder has an issuer, or no key.


def test_keygen_that_fails_leaves_no_private_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = IssuerConfig(issuer="https://oidc.example/", target="command:true")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(KeyFolder, "write_state", fail)
    with pytest.raises(IssuerError, match="No space"):
        setup.create(tmp_path / "keys", config, imported=None, bits=2048, now=1.0)
    assert list((tmp_path / "keys").rglob("*.pem")) == []
