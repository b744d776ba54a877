"""Contacts and imports of certificates are not implemented: clients show the error without retries."""

import pytest

from tests.clients.installation import PROGRAMS, install_python
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

PACKAGES = ("azure-identity", "azure-keyvault-certificates")


def test_certificates_are_refused_without_retries(instance: Instance) -> None:
    command = [*install_python(*PACKAGES), str(PROGRAMS / "other_kinds.py"), "journey-vault"]
    phase, printed = instance.run_command("other-kinds", "web", command)
    assert phase == "Succeeded", printed
    lines = [line for line in printed.splitlines() if " 501 " in line]
    assert len(lines) == 2, printed
    for line in lines:
        assert " 501 NotImplemented 1 " in line
        assert "do not support" in line
