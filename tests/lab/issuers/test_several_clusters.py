"""One instance as the cloud of several clusters: the commands of the guide, and a real API server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from podpass import names
from tests.control_plane import plane
from tests.guides import DOCS, GuideShell, read_listings
from tests.lab.instance.instances import CLIENT, Podpass
from tests.lab.issuers.test_up import exchange, kubectl, write_seed

GUIDE = DOCS / "develop/several-clusters.md"
SHARED, JOBS = (f"3f2a7c60-3c1e-4c52-9f0e-6c1d5f6f7a0{last}" for last in "12")


@pytest.fixture
def podpass(tmp_path: Path) -> Iterator[Podpass]:
    found = Podpass(tmp_path / "data")
    yield found
    found("down")


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_commands_of_the_guide_run_and_each_cluster_has_its_own_identities(
    podpass: Podpass, tmp_path: Path
) -> None:
    shell = GuideShell(podpass.environ, tmp_path)
    clusters, seed, programs, pods, end, *_ = read_listings(GUIDE, "sh")
    for name, language in (("read.py", "python"), ("pod.yaml", "yaml")):
        [listing] = read_listings(GUIDE, language)
        (tmp_path / name).write_text(listing)
    try:
        shell(clusters)
        shell(seed)
        greetings = shell(f"{programs}\n{pods}").count("hello from the vault\n")
        assert greetings == 5  # three tokens, and a pod of each cluster
        create = "kubectl --kubeconfig {}/kubeconfig create {} --audience {}"
        jobs = shell(create.format("west", "token jobs", names.EXCHANGE_AUDIENCE))
        assert "AADSTS700213:" in exchange(podpass, jobs.strip(), SHARED)
        # A ServiceAccount of the same name in the other cluster is another one.
        shell("kubectl --kubeconfig east/kubeconfig create serviceaccount jobs")
        other = shell(create.format("east", "token jobs", names.EXCHANGE_AUDIENCE))
        assert "AADSTS700211:" in exchange(podpass, other.strip(), JOBS)
    finally:
        shell(end)


@pytest.mark.kubernetes
@pytest.mark.timeout(300)
def test_instance_is_the_cloud_of_its_own_cluster_and_of_a_real_api_server(
    podpass: Podpass, tmp_path: Path
) -> None:
    issuer = "https://real.example"
    with plane.running(tmp_path / "plane", issuer=issuer) as real:
        use = f"kubectl --kubeconfig {real.kubeconfig}"
        shell = GuideShell(podpass.environ, tmp_path)
        shell(f"{use} create serviceaccount web")
        own = write_seed(tmp_path, "cluster")
        podpass.up("--seed", own)
        seed = write_seed(tmp_path, issuer, server=real.server, ca_file=str(real.ca_file))
        seeded = (
            Path(seed).read_text().replace('"name": "web", "issuer"', '"name": "real", "issuer"')
        )
        Path(seed).write_text(seeded)
        applied = podpass("apply", "-f", seed)
        assert applied.returncode == 0, applied.stderr
        token = shell(f"{use} create token web --audience {names.EXCHANGE_AUDIENCE}").strip()
        assert "(status)" in exchange(podpass, token)
        shell(
            f"{use} create clusterrolebinding issuer-discovery --group=system:unauthenticated"
            " --clusterrole=system:service-account-issuer-discovery"
        )
        # Without the restart, the token service would ask again after some seconds.
        podpass("down")
        podpass.up()
        kubectl(podpass, "create", "serviceaccount", "web")
        of_instance = kubectl(
            podpass, "create", "token", "web", "--audience", names.EXCHANGE_AUDIENCE
        )
        # One identity of both clusters.
        assert [exchange(podpass, each, CLIENT) for each in (token, of_instance)] == ["granted"] * 2
