"""The commands of the guide are executed on the cluster of `podpass up`.

`tests/control_plane/test_drift.py` executes them on a real API server.
"""

import re
import sys
from pathlib import Path

import pytest

from podpass.exchange.errors import catalogue
from tests.lab.instance.instances import Podpass
from tests.run_program import run_text
from tests.servers.authority.guide import PAGE, check_result, reading

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


def test_commands_of_guide_succeed(podpass: Podpass, tmp_path: Path) -> None:
    kubeconfig = Path(podpass.up()["kubernetes"]["kubeconfig"])
    with reading(tmp_path, kubeconfig) as reader:
        check_result(reader, reader.follow())


def test_names_in_guide_exist() -> None:
    text = PAGE.read_text()
    codes = {int(code) for code in re.findall(r"AADSTS(\d+)", text)}
    assert codes <= set(catalogue.TABLE)
    root = PAGE.parents[2]
    assert not [
        name for name in re.findall(r"deploy/[\w./-]+\w", text) if not (root / name).exists()
    ]
    flags = set(re.findall(r"`(--[a-z-]+)", text))
    help_text = run_text(
        [sys.executable, "-m", "podpass.cli", "authority", "--help"], check=True
    ).stdout
    elsewhere = {"--retire", "--at-once", "--audience", "--service-account-issuer"}
    assert not [flag for flag in flags - elsewhere if flag not in help_text]
