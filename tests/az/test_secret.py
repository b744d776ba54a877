"""`az keyvault secret`: all operations on a secret, and the required roles."""

from pathlib import Path

import pytest

from tests.az.az_cli import AzCli, names

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

VAULT, ROLE = "secrets-vault", "Key Vault Secrets Officer"


def _at(vault: str, name: str) -> str:
    return f"--vault-name {vault} -n {name}"


def test_a_secret_is_set_shown_and_listed(az: AzCli, vault: str) -> None:
    at = _at(vault, f"plain-{az.version}")
    made = az(f"keyvault secret set {at} --value hello --description text/plain --tags a=b")
    assert made["value"] == "hello"
    assert made["contentType"] == "text/plain"
    assert made["tags"]["a"] == "b"
    by_name, by_id, listed, versions = az.each(
        f"keyvault secret show {at}",
        f"keyvault secret show --id {made['id']}",
        f"keyvault secret list --vault-name {vault}",
        f"keyvault secret list-versions {at}",
    )
    assert by_name["value"] == by_id["value"] == "hello"
    assert f"plain-{az.version}" in names(listed)
    assert [each["id"] for each in versions] == [made["id"]]


def test_each_set_creates_a_version(newest: AzCli, vault: str) -> None:
    at = _at(vault, "versioned")
    first, second = (
        newest(f"keyvault secret set {at} --value {value}") for value in ("one", "two")
    )
    assert newest(f"keyvault secret show {at}")["id"] == second["id"]
    version = first["id"].rsplit("/", 1)[1]
    assert newest(f"keyvault secret show {at} --version {version}")["value"] == "one"
    assert len(newest(f"keyvault secret list-versions {at}")) == 2


def test_secret_attributes_are_updated(newest: AzCli, vault: str) -> None:
    at = _at(vault, "dated")
    newest(f"keyvault secret set {at} --value hello --expires 2040-01-01T00:00:00Z")
    changed = newest(
        f"keyvault secret set-attributes {at} --expires 2041-01-01T00:00:00Z "
        "--not-before 2020-01-01T00:00:00Z --content-type more --tags c=d"
    )
    assert changed["attributes"]["expires"] == "2041-01-01T00:00:00+00:00"
    assert changed["attributes"]["notBefore"] == "2020-01-01T00:00:00+00:00"
    assert (changed["contentType"], changed["tags"]) == ("more", {"c": "d"})
    assert (
        newest(f"keyvault secret set-attributes {at} --enabled false")["attributes"]["enabled"]
        is False
    )
    said = newest.refused(f"keyvault secret show {at}")
    assert "(Forbidden)" in said
    newest(f"keyvault secret set-attributes {at} --enabled true")
    assert newest(f"keyvault secret show {at}")["value"] == "hello"


def test_deleted_secret_is_recovered_or_purged(az: AzCli, vault: str) -> None:
    name = f"deleted-{az.version}"
    at = _at(vault, name)
    az(f"keyvault secret set {at} --value hello")
    deleted = az(f"keyvault secret delete {at}")
    assert deleted["recoveryId"] == f"https://{vault}.vault.azure.net/deletedsecrets/{name}"
    assert "(SecretNotFound)" in az.refused(f"keyvault secret show {at}")
    shown, listed = az.each(
        f"keyvault secret show-deleted {at}", f"keyvault secret list-deleted --vault-name {vault}"
    )
    assert shown["recoveryId"] == deleted["recoveryId"]
    assert name in names(listed)
    assert "deleted" in az.refused(f"keyvault secret set {at} --value other")
    az(f"keyvault secret recover {at}")
    assert az(f"keyvault secret show {at}")["value"] == "hello"
    az(f"keyvault secret delete {at}")
    assert az(f"keyvault secret purge {at}") is None
    # The older version prints the message of this error without its code.
    assert "was not found" in az.refused(f"keyvault secret show-deleted {at}")


def test_a_backup_is_restored(newest: AzCli, vault: str, tmp_path: Path) -> None:
    at, file = _at(vault, "backed-up"), tmp_path / "backup"
    for value in ("one", "two"):
        newest(f"keyvault secret set {at} --value {value}")
    newest(f"keyvault secret backup {at} --file {file}")
    assert b"two" not in file.read_bytes()
    restore = f"keyvault secret restore --vault-name {vault} --file {file}"
    assert "(Conflict)" in newest.refused(restore)
    newest(f"keyvault secret delete {at}")
    newest(f"keyvault secret purge {at}")
    assert newest(restore)["name"] == "backed-up"
    assert newest(f"keyvault secret show {at}")["value"] == "two"
    assert len(newest(f"keyvault secret list-versions {at}")) == 2


def test_secret_is_set_from_a_file_and_downloaded(
    newest: AzCli, vault: str, tmp_path: Path
) -> None:
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.write_bytes(bytes(range(256)))
    at = _at(vault, "a-file")
    newest(f"keyvault secret set {at} --file {given} --encoding base64")
    newest(f"keyvault secret download {at} --file {taken}")
    assert taken.read_bytes() == given.read_bytes()


def test_refusal_for_a_reader_names_the_missing_permission(
    newest: AzCli, vault: str, folder: Path
) -> None:
    scope = newest(f"keyvault show -n {vault}")["id"]
    newest(f"keyvault secret set {_at(vault, 'read-only')} --value hello")
    role = '"Key Vault Secrets User"'
    made = newest(f"ad sp create-for-rbac -n only-reads --role {role} --scopes {scope}")
    alone = newest.signed_out(folder)
    words = ("-u", made["appId"], "-p", made["password"], "--tenant", made["tenant"])
    alone("login --service-principal --allow-no-subscriptions", *words)
    shown = alone(f"keyvault secret show {_at(vault, 'read-only')}")
    assert shown["value"] == "hello"
    said = alone.refused(f"keyvault secret set {_at(vault, 'read-only')} --value other")
    assert "(Forbidden)" in said
    assert "Microsoft.KeyVault/vaults/secrets/setSecret/action" in said
    assert made["appId"] in said
    newest(f"ad app delete --id {made['appId']}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("keyvault secret show --vault-name {vault} -n never-set", "(SecretNotFound)"),
        ("keyvault secret show --vault-name never-made -n any", "never-made"),
        ("keyvault key list --vault-name {vault}", "podpass"),
        ("keyvault certificate list --vault-name {vault}", "podpass"),
    ],
)
def test_missing_secret_and_unsupported_kinds_are_reported(
    newest: AzCli, vault: str, line: str, words: str
) -> None:
    assert words in newest.refused(line.format(vault=vault))
