"""The program of the `helm test` pod against the real service: it passes if clients are served."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests.charts.authority.rendering import AuthorityChart
from tests.charts.rendering import find
from tests.run_program import run_text
from tests.servers.authority.running import TENANT, Authority

pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Run an authority whose certificate has another name than its Service."""
    made = Authority(folder=tmp_path_factory.mktemp("authority"), ca=trustme.CA())
    made.write_certificate()
    made.add_test_data()
    made.start(origin="https://localhost", workers=1)
    try:
        yield made
    finally:
        made.stop()


def _run(
    chart: AuthorityChart, authority: Authority, origin: str, certificate: Path
) -> subprocess.CompletedProcess[str]:
    """Run the pod's command with the address and the mount of the test."""
    (only,) = find(chart.render({"origin": origin, "tenantID": TENANT}), "Pod")["spec"][
        "containers"
    ]
    python, flag, program, service, port, *said, mounted = only["command"]
    assert (python, flag) == ("python", "-c")
    assert (service, port) == ("podpass-authority.podpass.svc", "443")
    assert (said, mounted) == ([origin, TENANT], "/tls/tls.crt")
    place = urlsplit(authority.facts["service"])
    return run_text(
        [sys.executable, "-I", flag, program, "127.0.0.1", str(place.port), *said, certificate],
        timeout=60,
    )


def test_release_test_passes_if_clients_are_served(
    chart: AuthorityChart, authority: Authority
) -> None:
    done = _run(chart, authority, "https://localhost", authority.folder / "tls.crt")
    assert done.returncode == 0, done.stderr
    assert f"gives tokens at https://localhost/{TENANT}/oauth2/v2.0/token" in done.stdout
    assert "signed by" in done.stdout


def test_release_test_fails_if_the_certificate_is_not_for_the_origin(
    chart: AuthorityChart, authority: Authority
) -> None:
    done = _run(chart, authority, "https://login.corp.example", authority.folder / "tls.crt")
    assert done.returncode == 1
    assert "does not serve https://login.corp.example: " in done.stderr
    assert "login.corp.example" in done.stderr.partition("certificate is not valid for")[2]


def test_release_test_fails_if_another_certificate_is_served(
    chart: AuthorityChart, authority: Authority, tmp_path: Path
) -> None:
    other = tmp_path / "tls.crt"
    trustme.CA().issue_cert("localhost").cert_chain_pems[0].write_to_path(other)
    done = _run(chart, authority, "https://localhost", other)
    assert done.returncode == 1
    assert "certificate verify failed" in done.stderr


def test_release_test_fails_if_the_service_has_another_origin(
    chart: AuthorityChart, authority: Authority
) -> None:
    done = _run(chart, authority, "https://127.0.0.1", authority.folder / "tls.crt")
    assert done.returncode == 1
    assert "which is not under https://127.0.0.1" in done.stderr


def test_release_test_is_a_hook_that_is_deleted_before_the_next_run(chart: AuthorityChart) -> None:
    annotations = find(chart.render(), "Pod")["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation"
