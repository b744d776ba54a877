"""The guide for the token service on a real API server, whose document names a node as `jwks_uri`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control_plane.plane import PlaneThread, running
from tests.servers.authority.guide import check_result, reading

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

# The default of an API server without this flag, at an address that does not answer.
OF_NODE = "https://192.0.2.10:6443/openid/v1/jwks"
CREATED = "kubectl get -n default configmap/kube-root-ca.crt serviceaccount/default"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneThread]:
    flag = f"--service-account-jwks-uri={OF_NODE}"
    with running(tmp_path_factory.mktemp("plane"), [flag]) as plane:
        yield plane


def test_commands_of_guide_succeed_on_a_real_api_server(plane: PlaneThread, tmp_path: Path) -> None:
    with reading(tmp_path, plane.kubeconfig) as reader:
        reader.type_until(CREATED)
        assert OF_NODE in reader.type("kubectl get --raw /.well-known/openid-configuration\n")
        check_result(reader, reader.follow())
