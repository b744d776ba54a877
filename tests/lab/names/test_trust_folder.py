"""The folder with the CA that containers without a cluster mount."""

import stat
from pathlib import Path

import pytest
import trustme

from podpass.lab.data.datadir import DataDir
from podpass.lab.instance import run_cloud as process
from podpass.lab.names.trust_folder import TrustFolderRefused, write_folder
from podpass.settings import CloudSettings

PUBLIC, FIRST, SECOND = (trustme.CA().cert_pem.bytes() for _ in range(3))


def test_folder_has_every_form_and_is_readable_for_other_users(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "trust"
    write_folder(folder, PUBLIC, FIRST)
    assert (folder / "ca.crt").read_bytes() == FIRST
    assert (folder / "ca-certificates.crt").read_bytes() == FIRST + PUBLIC
    assert (folder / "truststore.jks").read_bytes() == (folder / "truststore.p12").read_bytes()
    assert len(list(folder.glob("????????.0"))) == 2
    assert not [each for each in folder.iterdir() if b"PRIVATE KEY" in each.read_bytes()]
    for each in folder.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o644


def test_variables_name_files_of_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, PUBLIC, FIRST)
    lines = dict(line.split("=", 1) for line in (tmp_path / "trust.env").read_text().splitlines())
    assert {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "JAVA_TOOL_OPTIONS"} <= lines.keys()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        file = Path(lines[name])
        assert file.parent == Path("/etc/podpass/trust")
        assert (tmp_path / file.name).exists()


def test_files_of_an_earlier_ca_are_replaced(tmp_path: Path) -> None:
    write_folder(tmp_path, PUBLIC, FIRST)
    write_folder(tmp_path, PUBLIC, SECOND)
    assert (tmp_path / "ca.crt").read_bytes() == SECOND
    assert FIRST not in {each.read_bytes() for each in tmp_path.iterdir()}
    assert len(list(tmp_path.glob("????????.0"))) == 2


def test_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    """A folder such as /etc/ssl/certs must not be replaced by mistake."""
    (tmp_path / "Other_Root.pem").write_text("x")
    with pytest.raises(TrustFolderRefused, match=r"has other files, such as 'Other_Root\.pem'"):
        write_folder(tmp_path, PUBLIC, FIRST)
    assert [each.name for each in tmp_path.iterdir()] == ["Other_Root.pem"]


def test_cloud_refuses_a_folder_with_other_files_before_it_writes_anything(tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "openssl.cnf").write_text("")
    data_dir = DataDir(tmp_path / "cloud")
    settings = CloudSettings(data_dir=data_dir.root, trust_dir=str(tmp_path / "trust"))
    with pytest.raises(TrustFolderRefused, match=r"has other files, such as 'openssl\.cnf'"):
        process.run(
            data_dir,
            settings=settings,
            seed=None,
            environ={},
            progress=lambda _part, _detail: None,
            ready=lambda _status: None,
        )
    assert not data_dir.root.exists()


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text("x")
    with pytest.raises(TrustFolderRefused, match="cannot write"):
        write_folder(file, PUBLIC, FIRST)


def test_link_that_a_container_left_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    key, folder = tmp_path / "ca.key", tmp_path / "trust"
    key.write_text("secret")
    key.chmod(0o600)
    write_folder(folder, PUBLIC, FIRST)
    for name in (".podpass.part", "ca.crt"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(key)
    write_folder(folder, PUBLIC, FIRST)
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == ("secret", 0o600)
    assert (folder / "ca.crt").read_bytes() == FIRST
    assert not [each for each in folder.iterdir() if each.is_symlink()]
