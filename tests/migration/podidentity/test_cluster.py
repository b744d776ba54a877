"""Reading pod identities: owners, missing objects, and an API server that returns invalid objects."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError, Target
from podpass.migration.podidentity import DetectOptions, DetectResult, detect
from podpass.migration.podidentity.cluster import InvalidObject, PodIdentityMissing
from podpass.migration.podidentity.detect import OutputRefused
from podpass.migration.podidentity.model import UnsupportedWorkload

Objects = dict[str, Any]

AAD = "/apis/aadpodidentity.k8s.io/v1/namespaces/default"
CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
BATCH = "/apis/batch/v1/namespaces/default"


@contextmanager
def api_server(objects: Objects) -> Iterator[str]:
    """Serve objects by their path; a list is the items of a collection."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = objects.get(urlsplit(self.path).path)
            body = {"items": found} if isinstance(found, list) else found
            content = json.dumps(body or {"kind": "Status", "message": "not found"}).encode()
            self.send_response(200 if body else 404)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pod(name: str, owner: Objects | None = None, label: str = "web") -> Objects:
    meta: Objects = {"name": name, "namespace": "default", "labels": {"aadpodidbinding": label}}
    if owner:
        meta["ownerReferences"] = [{"kind": "Other", "name": "x"}, {**owner, "controller": True}]
    return {"metadata": meta, "spec": {"containers": []}}


def workload(name: str, owner: Objects | None = None) -> Objects:
    made = pod(name, owner)
    return made | {"spec": {"template": {"spec": {"containers": []}}}}


def cluster(*pods: Objects, **more: Any) -> Objects:
    identity = {"metadata": {"name": "one"}, "spec": {"clientID": "c"}}
    bound = {"metadata": {"name": "b"}, "spec": {"azureIdentity": "one", "selector": "web"}}
    return {
        f"{AAD}/azureidentities": [identity],
        f"{AAD}/azureidentitybindings": [bound],
        f"{CORE}/pods": list(pods),
        f"{CORE}/serviceaccounts": [{"metadata": {"name": "default"}}],
    } | more


def run(objects: Objects, folder: Path) -> DetectResult:
    async def detect_owners(server: str) -> DetectResult:
        async with KubeClient(Target(server=server)) as client:
            return await detect(client, DetectOptions(namespace="default", output_dir=folder))

    with api_server(objects) as server:
        return asyncio.run(detect_owners(server))


def test_owners_are_followed_to_the_top_and_counted_once(tmp_path: Path) -> None:
    objects = cluster(
        pod("single"),
        pod("other", label="unknown"),
        pod("w-1", {"kind": "ReplicaSet", "name": "w-rs"}),
        pod("w-2", {"kind": "ReplicaSet", "name": "w-rs"}),
        pod("n-1", {"kind": "Job", "name": "n-j"}),
        **{
            f"{APPS}/replicasets/w-rs": workload("w-rs", {"kind": "Deployment", "name": "w"}),
            f"{APPS}/deployments/w": workload("w"),
            f"{BATCH}/jobs/n-j": workload("n-j", {"kind": "CronJob", "name": "n"}),
            f"{BATCH}/cronjobs/n": {
                "metadata": {"name": "n"},
                "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}},
            },
        },
    )
    result = run(objects, tmp_path)
    assert [name for name in result.files if "serviceaccount" not in name] == [
        "n.yaml",
        "single.yaml",
        "w.yaml",
    ]
    made = yaml.safe_load((tmp_path / "n.yaml").read_text())
    assert (made["apiVersion"], made["kind"]) == ("batch/v1", "CronJob")


def test_cluster_without_pod_identity_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PodIdentityMissing, match="AzureIdentityBindings"):
        run({}, tmp_path)


@pytest.mark.parametrize("pods", [[], [pod("a", label="unknown")]], ids=["no-pods", "no-binding"])
def test_no_file_is_written_if_no_pod_has_a_binding(pods: list[Objects], tmp_path: Path) -> None:
    assert run(cluster(*pods), tmp_path).files == ()
    assert list(tmp_path.iterdir()) == []


LOOP = {"kind": "ReplicaSet", "name": "loop"}


@pytest.mark.parametrize(
    ("owner", "kind", "message"),
    [
        ({"kind": "Rollout", "name": "r"}, UnsupportedWorkload, "unsupported owner kind: Rollout"),
        (LOOP, UnsupportedWorkload, "chain of owners has more than 8"),
        ({"kind": "Job", "name": "gone"}, KubeError, "not found"),
        ({"kind": "Job", "name": "../../../secrets/x"}, InvalidObject, "not a valid name"),
        ({"kind": "Job", "name": "../x"}, InvalidObject, "not a valid name"),
    ],
    ids=["unsupported", "loop", "missing", "traversal", "parent"],
)
def test_workload_that_cannot_be_converted_writes_no_file(
    owner: Objects, kind: type[Error], message: str, tmp_path: Path
) -> None:
    objects = cluster(
        pod("fine"), pod("bad", owner), **{f"{APPS}/replicasets/loop": workload("loop", LOOP)}
    )
    with pytest.raises(kind, match=message):
        run(objects, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "", "A", "a\n", 7])
def test_invalid_object_name_is_refused_and_no_file_is_written(name: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(InvalidObject, match="not a valid name"):
        run(cluster(pod(name)), folder)
    assert list(tmp_path.rglob("*")) == [folder]


def test_missing_service_account_is_reported(tmp_path: Path) -> None:
    made = pod("a")
    made["spec"]["serviceAccountName"] = "gone"
    with pytest.raises(InvalidObject, match='serviceaccounts "gone" not found'):
        run(cluster(made), tmp_path)


def test_second_run_writes_the_same_files(tmp_path: Path) -> None:
    first = run(cluster(pod("a"), pod("b")), tmp_path)
    before = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert run(cluster(pod("b"), pod("a")), tmp_path) == first
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("is_link", [False, True], ids=["file", "dangling-link"])
def test_file_with_another_content_is_never_overwritten(is_link: bool, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    if is_link:
        (folder / "b.yaml").symlink_to(tmp_path / "elsewhere")
    else:
        (folder / "b.yaml").write_text("edited")
    with pytest.raises(OutputRefused, match="no file was written"):
        run(cluster(pod("a"), pod("b")), folder)
    assert [each.name for each in folder.iterdir()] == ["b.yaml"]
    assert not (tmp_path / "elsewhere").exists()


def test_file_that_another_program_creates_after_the_check_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, exists = tmp_path / "a.yaml", Path.exists

    def create_after_check(path: Path) -> bool:
        found = exists(path)
        if path == file:
            file.write_text("of another program")
        return found

    monkeypatch.setattr(Path, "exists", create_after_check)
    with pytest.raises(OutputRefused, match=r"cannot write .*a\.yaml: File exists"):
        run(cluster(pod("a")), tmp_path)
    assert file.read_text() == "of another program"


def test_directory_that_is_not_writable_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OutputRefused, match="cannot write"):
        run(cluster(pod("a")), tmp_path / "gone")
