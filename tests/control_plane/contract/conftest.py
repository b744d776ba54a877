"""Both servers for all tests, and a namespace for each test.

`known_differences.py` lists the tests that must fail on the embedded server; such a test that passes is an
error too. It also lists the tests that are skipped on real servers of other releases.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from kubeling.cluster import UserInfo

from podpass.http.server import server_tls
from tests.control_plane.background_loop import BackgroundLoop
from tests.control_plane.contract.api import ADMIN, USERS, Api, ContractServer, unique_name
from tests.control_plane.contract.custom_resources import (
    CustomApi,
    definition,
    establish,
    unique_group,
)
from tests.control_plane.contract.known_differences import KNOWN, OTHERS, skip_reason
from tests.control_plane.plane import ISSUER, running
from tests.kubeling.cluster import build_config, start_cluster

EMBEDDED, REAL = "embedded", "kube-apiserver"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of known differences of the embedded server as expected failures."""
    for item in items:
        name, _, which = item.name.partition("[")
        case = item.name.replace(f"{EMBEDDED}-", "")
        if which.startswith(EMBEDDED) and (reason := KNOWN.get(name) or KNOWN.get(case)):
            item.add_marker(pytest.mark.xfail(strict=True, reason=reason))


@pytest.fixture(
    scope="session", params=[EMBEDDED, pytest.param(REAL, marks=pytest.mark.kubernetes)]
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContractServer]:
    """Run each of the two servers."""
    folder = tmp_path_factory.mktemp("contract")
    with (_embedded if request.param == EMBEDDED else _real)(folder) as found:
        yield found


@contextmanager
def _embedded(folder: Path) -> Iterator[ContractServer]:
    background, stack = BackgroundLoop(), AsyncExitStack()
    try:
        yield background.run(_serve(stack, folder))
    finally:
        background.run(stack.aclose())
        background.close()


async def _serve(stack: AsyncExitStack, folder: Path) -> ContractServer:
    authority = trustme.CA()
    ca_file, leaf, key = (folder / name for name in ("ca.pem", "leaf.pem", "leaf.key"))
    authority.cert_pem.write_to_path(str(ca_file))
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(leaf))
    issued.private_key_pem.write_to_path(str(key))
    users = {
        token: UserInfo(name=name, uid=name, groups=(group,))
        for token, (name, group) in USERS.items()
    }
    tls = server_tls(str(leaf), str(key), client_ca=str(ca_file))
    _, url = await start_cluster(stack, build_config(folder, users, issuer=ISSUER), tls)
    return ContractServer(kind=EMBEDDED, url=url, ca_file=ca_file, folder=folder)


@contextmanager
def _real(folder: Path) -> Iterator[ContractServer]:
    users = folder / "users.csv"
    users.touch(0o600)
    lines = [f'{token},{name},{name},"{group}"' for token, (name, group) in USERS.items()]
    users.write_text("\n".join(lines))
    flags = [f"--token-auth-file={users}", "--enable-admission-plugins=NodeRestriction"]
    with running(folder / "plane", flags) as plane:
        yield ContractServer(kind=REAL, url=plane.server, ca_file=plane.ca_file, folder=folder)


@pytest.fixture
async def api(server: ContractServer, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """Return a client of the server with a namespace that is ready for pods."""
    tls = ssl.create_default_context(cafile=str(server.ca_file))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        found = Api(server=server, session=session, namespace=unique_name())
        test = request.node.originalname
        if test in OTHERS and server.kind == REAL:
            version = (await found.get("/version"))["gitVersion"]
            if why := skip_reason(test, version):
                pytest.skip(why)
        await found.call("POST", "/api/v1/namespaces", {"metadata": {"name": found.namespace}})
        await found.wait_for(
            found.path("serviceaccounts", "default"), lambda reply: reply.status == 200
        )
        await found.wait_for(
            found.path("configmaps", "kube-root-ca.crt"), lambda reply: reply.status == 200
        )
        yield found
        await found.call("DELETE", f"/api/v1/namespaces/{found.namespace}", token=ADMIN)


@pytest.fixture
async def jobs(api: Api) -> AsyncIterator[CustomApi]:
    """Serve a custom kind for one test."""
    made = await establish(api, definition(unique_group()))
    yield made
    await api.call("DELETE", made.definition_path)
