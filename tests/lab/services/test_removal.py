"""Each service is one folder: a copy of the tree without it imports, starts an instance and passes tests."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from podpass.lab.services import SERVICES
from tests.run_program import run_text

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]
_WITHOUT_VAULT = (
    "tests/lab/instance/test_run_cloud.py::test_identity_without_a_client_id_gets_the_same_one_in_every_new_folder",
    "tests/lab/instance/test_up.py::test_killed_instance_restarts_with_the_same_ports_and_identity",
    "tests/directory/resource_manager/test_federated_credentials.py",
)
_SELECTED = (
    "tests/pytest/test_instance.py::test_default_azure_credential_reads_a_secret_in_the_test_process",
    "tests/lab/instance/test_run_cloud.py::test_cloud_serves_azure_by_name_and_is_the_same_after_a_restart",
    "tests/directory/resource_manager/test_federated_credentials.py",
    "tests/seed/test_seed.py::test_seed_creates_all_its_objects",
)
_IMPORT_ALL = """
import importlib, pkgutil, podpass.lab.services as services
assert services.__file__.startswith({root!r}), services.__file__
assert {name!r} not in [each.name for each in services.SERVICES]
services.list_providers(), services.list_sections()
present = {{each.name for each in services.SERVICES}} | {{"model"}}
for found in pkgutil.walk_packages(importlib.import_module("podpass").__path__, "podpass."):
    if found.name.startswith(("podpass.cli", "podpass.lab", "podpass.seed", "podpass.servers.authority")):
        parts = found.name.split(".")
        # A service whose required service is absent is not used either.
        is_absent = parts[1:3] == ["lab", "services"] and len(parts) > 3 and parts[3] not in present
        if not is_absent and parts[-1] != "__main__":
            importlib.import_module(found.name)
"""


def copy_without(name: str, root: Path) -> None:
    """Copy sources and tests without the folder of a service and its line in the list."""
    skipped = shutil.ignore_patterns("__pycache__")
    for each in ROOT.iterdir():
        if each.name in ("src", "tests"):
            shutil.copytree(each, root / each.name, ignore=skipped)
        elif each.name != ".git":
            (root / each.name).symlink_to(each)
    services = root / "src" / "podpass" / "lab" / "services"
    shutil.rmtree(services / name)
    shutil.rmtree(root / "tests" / "lab" / "services" / name)
    listed = services / "__init__.py"
    entry = rf"\b{name}(?:\.SERVICE)?"
    left, removed = re.subn(rf"{entry}, |, {entry}(?=[)\n])", "", listed.read_text())
    assert removed == 2, "a name of the import, and one of the list"
    listed.write_text(left)


@pytest.mark.parametrize("name", [each.name for each in SERVICES])
def test_tree_without_the_folder_of_a_service_passes(name: str, tmp_path: Path) -> None:
    copy_without(name, tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    # The options of the outer run, a folder for its cache for example, are not those of the inner one.
    environ.pop("PYTEST_ADDOPTS", None)

    # The other tests need a vault.
    selected = _WITHOUT_VAULT if name == "vault" else _SELECTED

    def run(*command: str) -> None:
        done = run_text([sys.executable, *command], cwd=tmp_path, env=environ, timeout=240)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    run("-c", _IMPORT_ALL.format(root=str(tmp_path), name=name))
    run("-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *selected)
