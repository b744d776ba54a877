"""`podpass cloud`: what it prints and refuses. `tests/node/test_cloud.py` installs and uses it."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from podpass.cli import apply, cloud_cluster
from podpass.cli.cloud_host import find_target
from podpass.cli.cloud_install import DEFAULT_IMAGE, find_other_issuers
from podpass.cli.env import instance_environment
from podpass.lab.data.lock import hold_lock
from podpass.lab.install.objects import CloudValues, build_objects
from tests.lab.instance.instances import Podpass
from tests.lab.instance.test_run_cloud import run

_STORAGE = "storage_accounts: [{name: orders}]\n"


def _kubeconfig(podpass: Podpass) -> dict[str, str]:
    return {"KUBECONFIG": str(podpass.status()["kubernetes"]["kubeconfig"])}


def test_objects_are_printed_without_a_cluster(podpass: Podpass, tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text("vaults: []\n")
    arguments = ("cloud", "install", "--seed", str(seed), "--image", "podpass:9", "-o")
    environ = {"KUBECONFIG": str(tmp_path / "absent")}
    wanted = build_objects(CloudValues(image="podpass:9", seed="vaults: []\n"))
    printed = podpass(*arguments, "yaml", env=environ)
    assert list(yaml.safe_load_all(printed.stdout)) == wanted
    assert json.loads(podpass(*arguments, "json", env=environ).stdout)["items"] == wanted


def test_objects_with_azurite_are_those_of_its_option(podpass: Podpass, tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(_STORAGE)
    arguments = ("install", "--seed", str(seed), "--azurite-image=azurite:1", "-o", "json")
    printed = podpass("cloud", *arguments, env={"KUBECONFIG": str(tmp_path / "absent")})
    values = CloudValues(image=DEFAULT_IMAGE, seed=_STORAGE, azurite_image="azurite:1")
    assert json.loads(printed.stdout)["items"] == build_objects(values)


def test_misspelt_variable_of_serve_is_refused(podpass: Podpass) -> None:
    done = podpass("cloud", "serve", env={"PODPASS_CLOUD_LISTN": ":1", "PODPASS_CLOUD_PORT": "1"})
    assert done.returncode == 2
    expected = "PODPASS_CLOUD_LISTN: unknown variable; did you mean PODPASS_CLOUD_LISTEN?"
    assert expected in done.stderr
    assert "PODPASS_CLOUD_PORT" not in done.stderr


@pytest.mark.parametrize(
    ("storage", "warning"),
    [
        (
            {"accounts": ["orders"], "services": [], "azurite_accounts": []},
            "warning: without Azurite, storage accounts are not served (orders); run `podpass cloud",
        ),
        ({}, "warning: without Azurite, storage accounts are not served (orders)"),
        (
            {"accounts": ["orders"], "services": ["blob"], "azurite_accounts": ["other"]},
            "warning: Azurite does not have the storage accounts orders; it has those of the seed",
        ),
        ({"accounts": ["orders"], "services": ["blob"], "azurite_accounts": ["orders"]}, None),
    ],
    ids=["no-azurite", "earlier-release", "unknown-account", "served"],
)
def test_storage_account_that_the_installation_does_not_serve_is_a_warning(
    storage: dict[str, list[str]], warning: str | None
) -> None:
    found = cloud_cluster.list_cloud_storage_warnings(_STORAGE, {"storage": storage})
    assert len(found) == (warning is not None)
    assert all(each.startswith(warning or "") for each in found)
    assert cloud_cluster.list_cloud_storage_warnings("vaults: []", {"storage": storage}) == []
    assert cloud_cluster.list_cloud_storage_warnings("", {}) == []


def test_storage_account_that_up_or_serve_does_not_serve_is_a_warning() -> None:
    azurite = "http://127.0.0.1:10000"
    (warning,) = apply.list_storage_warnings(_STORAGE, "", {})
    assert warning.endswith("(orders); pass the address of Azurite with --azurite URL")
    (warning,) = apply.list_storage_warnings(_STORAGE, "", {}, "set azuriteImage")
    assert warning.endswith("(orders); set azuriteImage")
    (warning,) = apply.list_storage_warnings(_STORAGE, azurite, {})
    assert warning.endswith("orders; add NAME:KEY to AZURITE_ACCOUNTS, for podpass and for Azurite")
    environ = {"AZURITE_ACCOUNTS": "orders:a2V5"}
    assert apply.list_storage_warnings(_STORAGE, azurite, environ) == []


def test_dry_run_warns_of_accounts_that_would_not_be_served(
    running: Podpass, tmp_path: Path
) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(_STORAGE)
    arguments = ("cloud", "install", "--dry-run", "--dns", "none", "--seed", str(seed))
    done = running(*arguments, env=_kubeconfig(running))
    assert done.returncode == 0
    assert "warning: without Azurite, storage accounts are not served (orders)" in done.stderr
    served = running(*arguments, "--azurite-image", "azurite:1", env=_kubeconfig(running))
    assert "warning" not in served.stderr


def test_running_instance_without_azurite_warns_of_applied_accounts(
    running: Podpass, tmp_path: Path
) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text("storage_accounts: [{name: applied}]\n")
    done = running("apply", "-f", str(seed))
    assert done.returncode == 0
    assert "storage accounts are not served (applied); run `podpass down" in done.stderr
    assert "up --azurite URL" in done.stderr


def test_warning_lists_a_limited_number_of_accounts() -> None:
    many = "".join(f"  - {{name: account{number}}}\n" for number in range(500))
    (warning,) = apply.list_storage_warnings(f"storage_accounts:\n{many}", "", {})
    assert "account9, ...)" in warning
    assert "account10" not in warning


def test_storage_of_the_cloud_is_described_in_one_line() -> None:
    served = {"accounts": ["orders", "invoices"], "services": ["blob", "queue", "table"]}
    line = cloud_cluster.describe_storage(served)
    assert line == "orders.*.core.windows.net, invoices.*.core.windows.net"
    assert cloud_cluster.describe_storage({**served, "accounts": []}) == "none"
    assert cloud_cluster.describe_storage({}).startswith("not served, see --azurite-image")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("install", "--namespace", "Bad_Name"), "is not a valid namespace name"),
        (("install", "--seed", "/nonexistent"), "cannot read /nonexistent"),
        (("install", "--pull-secret", "a/../b"), "--pull-secret 'a/../b' is not a valid name"),
        (
            ("install", "--azurite-image", "a b"),
            "--azurite-image 'a b' is not the name of an image",
        ),
        (("status",), "cannot read"),
        (("apply", "-f", "/nonexistent"), "cannot read /nonexistent"),
        (("serve", "--listen", "x"), "--listen 'x': must be HOST:PORT"),
        (("instal",), "Did you mean 'install'?"),
    ],
    ids=["namespace", "seed", "pull-secret", "image", "no-cluster", "no-file", "address", "typo"],
)
def test_invalid_cloud_command_is_refused_with_the_reason(
    podpass: Podpass, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = podpass("cloud", *arguments, env={"KUBECONFIG": str(tmp_path / "absent")})
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert done.stdout == ""


def test_credential_that_trusts_another_issuer_is_a_warning() -> None:
    issuer = "https://kubernetes.default.svc.cluster.local"
    credentials = "".join(
        f"      - {{name: c-{number}, issuer: '{each}', subject: 'system:serviceaccount:a:b'}}\n"
        for number, each in enumerate(("cluster", issuer, issuer + "/"))
    )
    seed = f"identities:\n  - name: web\n    federated_credentials:\n{credentials}"
    (warning,) = find_other_issuers(seed, issuer)
    assert f"identity web trusts {issuer}/, " in warning
    assert "write `issuer: cluster`" in warning
    assert find_other_issuers("", issuer) == []


def test_credential_that_the_api_server_refuses_has_a_hint(
    running: Podpass, tmp_path: Path
) -> None:
    config = yaml.safe_load(Path(_kubeconfig(running)["KUBECONFIG"]).read_text())
    config["users"][0]["user"] = {"token": "expired"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    done = running("cloud", "install", env={"KUBECONFIG": str(tmp_path / "kubeconfig")})
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "podpass: Unauthorized"
    assert "kubectl auth whoami" in done.stderr


def test_cloud_status_of_a_cluster_without_an_installation_is_not_installed(
    running: Podpass,
) -> None:
    done = running("cloud", "status", "-o", "json", env=_kubeconfig(running))
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "context": "podpass",
        "namespace": "podpass-cloud",
        "ready": False,
        "pod": "not installed",
        "image": "",
        "address": "",
        "webhook_problem": "",
    }
    assert done.stderr.splitlines() == [
        "podpass: namespace podpass-cloud has no podpass cloud",
        "  install it with `podpass cloud install`, or pass its namespace with -n N",
    ]


def test_reset_without_an_installation_names_the_install_command(running: Podpass) -> None:
    done = running("cloud", "reset", env=_kubeconfig(running))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "podpass: namespace podpass-cloud has no cloud that is ready",
        "  install it with `podpass cloud install`, or see `podpass cloud status`",
    ]


def test_command_without_a_kubeconfig_names_ways_to_a_cluster(podpass: Podpass) -> None:
    done = podpass("cloud", "status", env={"KUBECONFIG": ""})
    assert done.returncode == 2
    assert "kind create cluster" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("install",),
        ("status",),
        ("env",),
        ("run", "--", "true"),
        ("reset",),
        ("demo",),
        ("uninstall", "--yes"),
    ],
    ids=lambda given: given[0],
)
def test_kubeconfig_that_does_not_exist_has_the_exit_code_of_a_wrong_option(
    podpass: Podpass, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = podpass("cloud", *arguments, env={"KUBECONFIG": str(tmp_path / "absent")})
    assert done.returncode == 2
    assert f"cannot read {tmp_path / 'absent'}" in done.stderr


async def test_environment_of_a_cloud_without_a_cluster_keeps_the_kubeconfig_of_the_user(
    tmp_path: Path,
) -> None:
    async with run(tmp_path / "cloud") as running:
        with hold_lock(running.data_dir.lock_file, "", ""):
            values = await asyncio.to_thread(instance_environment, running.data_dir)
    assert "KUBECONFIG" not in values
    assert values["PODPASS_ENV"] == str(running.data_dir.root)


def test_context_that_is_not_the_current_one_is_refused(running: Podpass) -> None:
    arguments = ("cloud", "install", "--dns", "none", "--yes-this-cluster", "production")
    done = running(*arguments, env=_kubeconfig(running))
    assert done.returncode == 1
    assert "--yes-this-cluster production is not the current context, podpass" in done.stderr
    assert running("cloud", "status", env=_kubeconfig(running)).returncode == 1


def test_target_stays_in_its_context_when_another_one_becomes_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`podpass cloud run --as` renews a token for hours: never one of another cluster."""
    path, names = tmp_path / "config", ("first", "second")
    config = {
        "current-context": "first",
        "contexts": [{"name": each, "context": {"cluster": each, "user": each}} for each in names],
        "clusters": [
            {"name": each, "cluster": {"server": f"http://{each}.example"}} for each in names
        ],
        "users": [{"name": each, "user": {"token": each}} for each in names],
    }
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    target = find_target(None, "podpass-cloud")
    assert target.context == "first"
    path.write_text(yaml.safe_dump({**config, "current-context": "second"}))
    assert target.open_client().server == target.server == "http://first.example"
