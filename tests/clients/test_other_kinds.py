"""Keys and certificates: what podpass does not have is said so that the released clients show it at once."""

import pytest

from tests.clients.installed import PROGRAMS, python_with
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

PACKAGES = ("azure-identity", "azure-keyvault-keys", "azure-keyvault-certificates")


def test_keys_and_certificates_are_refused_in_one_request_and_one_sentence(
    instance: Instance,
) -> None:
    command = [*python_with(*PACKAGES), str(PROGRAMS / "other_kinds.py"), "journey-vault"]
    phase, printed = instance.run_command("other-kinds", "web", command)
    assert phase == "Succeeded", printed
    lines = [line for line in printed.splitlines() if " 501 " in line]
    assert len(lines) == 6, printed
    for line in lines:
        assert " 501 NotImplemented 1 " in line
        assert "is not in podpass" in line
