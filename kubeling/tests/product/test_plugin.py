"""The pytest plugin, in sessions of pytest in other processes."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

SECONDS = 110
HELPERS = """
import json, os, ssl, urllib.request, pytest

def call(cluster, path, body=None, method=None):
    sent = urllib.request.Request(
        cluster.server + path, None if body is None else json.dumps(body).encode(),
        {"authorization": f"Bearer {cluster.token}", "content-type": "application/json"}, method=method,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(
        context=ssl.create_default_context(cafile=str(cluster.ca_file))))
    with opener.open(sent, timeout=30) as response:
        return json.load(response)

def names(cluster, path):
    return {each["metadata"]["name"] for each in call(cluster, path)["items"]}

MAPS = "/api/v1/namespaces/default/configmaps"
"""


def session(folder: Path, tests: str, *words: str, ini: str = "", conftest: str = "") -> str:
    """Run tests in another process; return the output."""
    scope = "asyncio_default_fixture_loop_scope = function"
    (folder / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{scope}\n{ini}")
    (folder / "conftest.py").write_text(conftest)
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "test_it.py").write_text(f"from helpers import *\n{tests}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tests_of_a_session_share_a_cluster_and_have_own_namespaces(tmp_path: Path) -> None:
    tests = """
servers, spaces = set(), []

@pytest.mark.parametrize("number", range(2))
def test_objects(kubeling_cluster, kubeling_namespace, number):
    servers.add(kubeling_cluster.server)
    spaces.append(kubeling_namespace)
    maps = f"/api/v1/namespaces/{kubeling_namespace}/configmaps"
    call(kubeling_cluster, maps, {"metadata": {"name": "same"}})

def test_servers_and_namespaces(kubeling_cluster):
    assert len(servers) == 1 and len(set(spaces)) == 2
    for name in spaces:
        try:
            found = call(kubeling_cluster, f"/api/v1/namespaces/{name}")
        except urllib.error.HTTPError as exc:
            assert exc.code == 404
            exc.close()
        else:
            assert found["status"]["phase"] == "Terminating"
"""
    assert "3 passed" in session(tmp_path, tests)


def test_reset_removes_objects_of_the_test_and_keeps_those_of_wider_fixtures(
    tmp_path: Path,
) -> None:
    tests = """
@pytest.fixture(scope="module", autouse=True)
def of_module(kubeling_cluster):
    call(kubeling_cluster, MAPS, {"metadata": {"name": "module"}})

@pytest.mark.parametrize("number", range(2))
def test_create(kubeling_reset, number):
    assert names(kubeling_reset, MAPS) == {"module", "kube-root-ca.crt"}
    call(kubeling_reset, MAPS, {"metadata": {"name": "mine"}})
"""
    assert "2 passed" in session(tmp_path, tests)


def test_options_start_a_cluster_without_controllers(tmp_path: Path) -> None:
    conftest = """
import pytest

@pytest.fixture(scope="session")
def kubeling_options():
    return {"node": False, "controllers": False}
"""
    tests = """
def test_no_controller_has_written(kubeling_cluster):
    assert names(kubeling_cluster, MAPS) == set()
"""
    assert "1 passed" in session(tmp_path, tests, conftest=conftest)


def test_each_worker_of_xdist_has_its_own_cluster(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    tests = """
@pytest.mark.parametrize("number", range(4))
def test_create(kubeling_reset, number):
    assert names(kubeling_reset, MAPS) == {"kube-root-ca.crt"}
    call(kubeling_reset, MAPS, {"metadata": {"name": "mine"}})
"""
    assert "4 passed" in session(tmp_path, tests, "-n", "2")


@pytest.mark.parametrize("words", [(), ("-n", "1")], ids=["alone", "worker"])
def test_setting_sets_kubeconfig_before_modules_are_imported(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    tests = """
AT_IMPORT = os.environ["KUBECONFIG"]  # the official Python client reads it at that time

def test_environment(kubeling_cluster):
    with open(AT_IMPORT) as file:
        assert file.read() == kubeling_cluster.kubeconfig.read_text()
    assert os.environ["KUBECONFIG"] == AT_IMPORT
    assert os.stat(AT_IMPORT).st_mode & 0o777 == 0o600
"""
    ini = "kubeling_kubeconfig = true\n"
    assert "1 passed" in session(tmp_path, tests, *words, ini=ini)


def test_options_of_the_cluster_come_from_a_fixture(tmp_path: Path) -> None:
    conftest = """
import pytest

@pytest.fixture(scope="session")
def kubeling_options():
    return {"node": False}
"""
    tests = """
def test_nodes(kubeling_cluster):
    assert names(kubeling_cluster, "/api/v1/nodes") == set()
"""
    assert "1 passed" in session(tmp_path, tests, conftest=conftest)


def test_session_without_its_fixtures_loads_no_part_of_a_cluster(tmp_path: Path) -> None:
    tests = """
import sys

def test_modules():
    loaded = {each for each in sys.modules if each.startswith("kubeling")}
    assert loaded == {"kubeling", "kubeling.pytest_plugin"}
"""
    assert "1 passed" in session(tmp_path, tests, "-p", "no:podpass")


def test_async_tests_use_the_cluster_of_the_session(tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio")
    tests = """
import asyncio

async def test_create(kubeling_reset):
    made = {"metadata": {"name": "mine"}}
    await asyncio.to_thread(call, kubeling_reset, MAPS, made)
    assert "mine" in await asyncio.to_thread(names, kubeling_reset, MAPS)
"""
    assert "1 passed" in session(tmp_path, tests, ini="asyncio_mode = auto\n")
