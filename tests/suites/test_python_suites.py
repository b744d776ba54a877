"""Test suites of other projects, from their source distributions, against an instance: `make test-suites`."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from tests.journey.instance import Instance
from tests.suites.python_suite import Suite

pytestmark = pytest.mark.suites

_SHIMS = str(Path(__file__).parent)  # the folder of devtools_testutils


def _write_ca(sources: Path) -> None:
    """Write the CA of the tests that merge a certificate."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(sources / "tests" / "ca.crt"))
    ca.private_key_pem.write_to_path(str(sources / "tests" / "ca.key"))


# The live tests of Azure's SDKs; the others run without a server, or compare with recordings.
_AZURE = ("-p", "devtools_testutils", "tests")
SUITES = (
    Suite(
        package="azure-keyvault-secrets",
        extra=("azure-identity", "aiohttp", "python-dateutil"),
        arguments=(*_AZURE, "-m", "not playback_test_only"),
        passed=1055,
    ),
    Suite(
        package="azure-keyvault-keys",
        extra=("azure-identity", "aiohttp", "python-dateutil"),
        arguments=(*_AZURE, "-m", "not playback_test_only", "--timeout=300"),
        passed=1682,
    ),
    Suite(
        package="azure-keyvault-certificates",
        # Its tests use a function that pyOpenSSL has removed.
        extra=("azure-identity", "aiohttp", "python-dateutil", "pyopenssl<26"),
        arguments=(*_AZURE, "-m", "not playback_test_only", "--timeout=300"),
        passed=1144,
        failed={
            "test_create_certificate_with_platform_managed[2026-04-01]": "certificates that Azure's own"
            " services manage"
        },
        prepare=_write_ca,
    ),
    Suite(
        package="azure-identity",
        extra=("aiohttp", "azure-mgmt-resource", "azure-keyvault-secrets", "pytest-mock"),
        arguments=(*_AZURE, "-k", "live"),
        passed=14,
    ),
    Suite(
        package="kopf",
        extra=(
            *(
                *("aresponses", "astpath[xpath]", "certbuilder", "certvalidator"),
                *("freezegun", "kubernetes"),
            ),
            *("looptime", "lxml", "oscrypto", "pykube-ng", "pytest-aiohttp", "pytest-mock"),
        ),
        arguments=("tests/e2e", "--only-e2e", "--timeout=120"),
        passed=13,
        failed={
            "test_all_examples_are_runnable[17-admission]": "the released oscrypto does not parse the version"
            " of OpenSSL 3.0.10 and newer; kopf's own CI installs an unreleased commit of it"
        },
    ),
)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.package)
def test_suite_of_another_project_passes(
    suite: Suite, instance: Instance, sign_in: Mapping[str, str], tmp_path: Path
) -> None:
    environ = {"PODPASS_DATA_DIR": str(instance.data_dir), "PYTHONPATH": _SHIMS, **sign_in}
    suite.run(environ, tmp_path, sys.executable, "-m", "podpass.cli", "run", "--")
