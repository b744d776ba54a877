"""The kubeconfig of the administrator: written at every start, except for changes of the user."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass.lab.data.datadir import DataDir
from podpass.lab.data.kubeconfig import write_all

SERVER = "https://127.0.0.1:18440"


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path)


def read(data_dir: DataDir) -> Any:
    return yaml.safe_load(data_dir.kubeconfig.read_bytes())


def test_kubeconfig_points_at_the_server_and_is_readable_by_the_owner_only(
    data_dir: DataDir,
) -> None:
    write_all(data_dir, SERVER)
    assert read(data_dir)["clusters"][0]["cluster"]["server"] == SERVER
    assert data_dir.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_contexts_added_by_the_user_survive_a_start(data_dir: DataDir) -> None:
    write_all(data_dir, SERVER)
    found = read(data_dir)
    found["contexts"].append({"name": "mine", "context": {"cluster": "podpass", "user": "me"}})
    found["current-context"] = "mine"
    data_dir.kubeconfig.write_text(yaml.safe_dump(found))
    write_all(data_dir, SERVER)
    assert read(data_dir) == found


@pytest.mark.parametrize("damage", ["", "{", "clusters: 3", "[]", "\x00"])
def test_damaged_kubeconfig_is_written_again(data_dir: DataDir, damage: str) -> None:
    data_dir.kubeconfig.write_text(damage)
    write_all(data_dir, SERVER)
    assert read(data_dir)["current-context"] == "podpass"


def test_kubeconfig_with_another_address_is_written_again(data_dir: DataDir) -> None:
    write_all(data_dir, SERVER)
    write_all(data_dir, "https://127.0.0.1:1")
    assert read(data_dir)["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
