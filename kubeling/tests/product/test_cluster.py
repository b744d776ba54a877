"""`kubeling.Cluster`: start, end, reset and namespaces, in a thread and in the running loop."""

import asyncio
import base64
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from kubeling import Cluster, UserInfo
from kubeling.certificates import open_certificates
from kubeling.errors import Error
from kubeling.instance import FolderInUse, NotStarted, PortInUse
from tests.product.programs import kubectl, kubectl_binary, until

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "crons.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "crons", "kind": "Cron"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }
        ],
    },
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


def request(
    cluster: Cluster, path: str, body: Any = None, *, method: str = "", token: str = ""
) -> Any:
    """Send a request as a client does, with the CA file and the token."""
    sent = urllib.request.Request(
        cluster.server + path,
        data=None if body is None else json.dumps(body).encode(),
        method=method or ("GET" if body is None else "POST"),
        headers={
            "authorization": f"Bearer {token or cluster.token}",
            "content-type": "application/json",
        },
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=str(cluster.ca_file))
        ),
    )
    with opener.open(sent, timeout=30) as response:
        return json.load(response)


def names(cluster: Cluster, path: str) -> set[str]:
    return {each["metadata"]["name"] for each in request(cluster, path)["items"]}


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_kubeconfig_names_no_other_file_and_is_private(cluster: Cluster) -> None:
    found = yaml.safe_load(cluster.kubeconfig.read_text())

    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    assert found["clusters"][0]["cluster"]["server"] == cluster.server
    ca = base64.b64decode(found["clusters"][0]["cluster"]["certificate-authority-data"])
    assert ca == cluster.ca_file.read_bytes()
    assert found["users"][0]["user"] == {"token": cluster.token}
    assert found["contexts"][0]["context"]["namespace"] == "default"
    assert {name for name, _ in _paths(found)} == set()


def _paths(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts of a document that are paths."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, str) and value.startswith("/"):
        yield value, value


def test_strict_clients_verify_the_certificate_for_names_in_pods(cluster: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default of Python 3.13
    port = int(cluster.server.rpartition(":")[2])
    for name in ("localhost", "kubernetes.default.svc"):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
        _handshake(tls, incoming, outgoing, port)


def _handshake(tls: Any, incoming: Any, outgoing: Any, port: int) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
            else:
                return


def test_token_of_another_cluster_is_refused(cluster: Cluster) -> None:
    with pytest.raises(HTTPError) as refused:
        request(cluster, "/api/v1/namespaces", token="another")
    assert refused.value.code == 401
    refused.value.close()


def test_kubectl_applies_and_reads_logs(cluster: Cluster) -> None:
    name = cluster.namespace()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "greeter", "namespace": name},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "app", "image": "none", "command": ["echo", "hello"]}],
        },
    }
    kubectl(cluster.kubeconfig, "apply", "-f", "-", given=json.dumps(pod))
    wait = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl(cluster.kubeconfig, "-n", name, "wait", "pod/greeter", wait, "--timeout=50s")

    assert kubectl(cluster.kubeconfig, "-n", name, "logs", "greeter") == "hello\n"


def test_image_of_the_table_runs_its_command_with_the_arguments_of_the_container() -> None:
    with Cluster(images={"example.com/greeter": ["echo", "hello"]}) as cluster:
        pod = {
            "metadata": {"name": "greeter"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {"name": "app", "image": "example.com/greeter:1.2", "args": ["world"]}
                ],
            },
        }
        request(cluster, "/api/v1/namespaces/default/pods", pod)
        wait = "--for=jsonpath={.status.phase}=Succeeded"
        kubectl(cluster.kubeconfig, "wait", "pod/greeter", wait, "--timeout=50s")

        assert kubectl(cluster.kubeconfig, "logs", "greeter") == "hello world\n"


def test_pod_reads_the_ca_and_no_key_of_the_cluster(cluster: Cluster) -> None:
    node = request(cluster, "/api/v1/nodes/kubeling")
    if "(rewrite)" in node["status"]["nodeInfo"]["osImage"]:
        pytest.skip("this machine permits no mount namespaces")
    name, folder = cluster.namespace(), cluster.kubeconfig.parent
    script = f"cat {cluster.ca_file} >/dev/null && ls -A {folder} && cat {cluster.kubeconfig} 2>&1"
    command = ["sh", "-c", f"{script}; echo code $?"]
    pod = {
        "metadata": {"name": "curious"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "app", "image": "none", "command": command}],
        },
    }
    request(cluster, f"/api/v1/namespaces/{name}/pods", pod)
    wait = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl(cluster.kubeconfig, "-n", name, "wait", "pod/curious", wait, "--timeout=50s")
    log = kubectl(cluster.kubeconfig, "-n", name, "logs", "curious")

    assert cluster.token not in log
    assert log.endswith("code 1\n")
    assert "ca.crt" in log
    assert "tls.key" not in log
    assert "service-account.key" not in log


def test_unknown_image_says_how_to_add_its_command() -> None:
    with Cluster() as cluster:
        pod = {
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]},
        }
        request(cluster, "/api/v1/namespaces/default/pods", pod)
        wait = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImageUnknown"
        kubectl(cluster.kubeconfig, "wait", "pod/web", wait, "--timeout=50s")

        message = kubectl(
            cluster.kubeconfig,
            *("get", "pod", "web", "-o"),
            "jsonpath={.status.containerStatuses[0].state.waiting.message}",
        )
        assert "kubeling up --image 'nginx=COMMAND'" in message
        # kubectl shows the error of its second attempt, by SPDY, which this server does not have.
        words = [
            kubectl_binary(),
            "--kubeconfig",
            str(cluster.kubeconfig),
            "exec",
            "web",
            "--",
            "ls",
        ]
        failed = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert 'container not found ("web")' in failed.stderr


def test_reset_restores_the_objects_of_the_start(cluster: Cluster) -> None:
    cluster.reset()
    before = names(cluster, "/api/v1/namespaces")
    made = cluster.namespace()
    request(cluster, f"/api/v1/namespaces/{made}/configmaps", config_map("one"))
    request(cluster, "/api/v1/namespaces/default/configmaps", config_map("two"))
    request(cluster, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt", method="DELETE")

    cluster.reset()

    assert names(cluster, "/api/v1/namespaces") == before
    assert names(cluster, "/api/v1/namespaces/default/configmaps") == {"kube-root-ca.crt"}
    # What was restored is not restored again: watches get no further events.
    path = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt"
    restored = request(cluster, path)["metadata"]["resourceVersion"]
    cluster.reset()
    assert request(cluster, path)["metadata"]["resourceVersion"] == restored


def test_reset_ends_the_service_of_a_custom_resource(cluster: Cluster) -> None:
    request(cluster, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
    kubectl(
        cluster.kubeconfig,
        *("wait", "crd/crons.example.com", "--for=condition=Established", "--timeout=50s"),
    )
    assert names(cluster, "/apis/example.com/v1/crons") == set()

    cluster.reset()

    with pytest.raises(HTTPError) as missing:
        request(cluster, "/apis/example.com/v1/crons")
    assert missing.value.code == 404
    missing.value.close()


def test_event_of_an_object_that_a_reset_removed_is_a_conflict(cluster: Cluster) -> None:
    """Fails if the client gets an internal error: operators write Events after the reset of a test."""
    maps = "/api/v1/namespaces/default/configmaps"
    made = request(cluster, maps, config_map("watched"))
    cluster.reset()
    regarding = {"kind": "ConfigMap", **made["metadata"]}
    event = {"metadata": {"name": "late"}, "involvedObject": regarding}

    event = {"metadata": {"name": "late"}, "involvedObject": regarding}
    with pytest.raises(HTTPError) as refused:
        request(cluster, "/api/v1/namespaces/default/events", event)

    assert json.load(refused.value)["reason"] == "Conflict"


def test_reset_to_a_snapshot_keeps_its_objects(cluster: Cluster) -> None:
    cluster.reset()
    request(cluster, "/api/v1/namespaces/default/configmaps", config_map("kept"))
    snapshot = cluster.snapshot()
    for _ in range(2):
        request(cluster, "/api/v1/namespaces/default/configmaps", config_map("dropped"))
        cluster.reset(snapshot)
        found = names(cluster, "/api/v1/namespaces/default/configmaps")
        assert found == {"kept", "kube-root-ca.crt"}
    cluster.reset()
    assert names(cluster, "/api/v1/namespaces/default/configmaps") == {"kube-root-ca.crt"}


def test_reset_kills_the_containers_of_later_pods(cluster: Cluster, tmp_path: Path) -> None:
    cluster.reset()
    mark = tmp_path / "pid"
    pod = {
        "metadata": {"name": "long"},
        "spec": {
            "containers": [
                {
                    "name": "app",
                    "image": "none",
                    "command": [
                        "sh",
                        "-c",
                        f"echo $$ > {mark}.part; mv {mark}.part {mark}; sleep 600",
                    ],
                }
            ]
        },
    }
    request(cluster, "/api/v1/namespaces/default/pods", pod)
    until(mark.exists)

    cluster.reset()

    assert names(cluster, "/api/v1/pods") == set()
    until(lambda: not Path("/proc", mark.read_text().strip()).exists())
    assert names(cluster, "/api/v1/nodes") == {"kubeling"}


def test_namespace_has_its_service_account_at_once(cluster: Cluster) -> None:
    first, second = cluster.namespace("shop"), cluster.namespace("shop")

    assert first != second
    assert first.startswith("shop-")
    assert names(cluster, f"/api/v1/namespaces/{first}/serviceaccounts") == {"default"}


def test_deleted_namespace_disappears(cluster: Cluster) -> None:
    name = cluster.namespace()
    cluster.delete_namespace(name)
    cluster.delete_namespace("is-not-there")

    until(lambda: name not in names(cluster, "/api/v1/namespaces"))


def test_additional_token_has_the_rights_of_its_user() -> None:
    with Cluster(node=False, tokens={"of-a-reader": UserInfo(name="reader")}) as cluster:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        found = request(cluster, path, review, token="of-a-reader")

        assert found["status"]["userInfo"]["username"] == "reader"
        with pytest.raises(HTTPError) as refused:
            request(cluster, "/api/v1/secrets", token="of-a-reader")
        assert refused.value.code == 403
        refused.value.close()


def test_several_clusters_of_one_process_share_no_object() -> None:
    with Cluster(node=False) as first, Cluster(node=False) as second:
        made = first.namespace()

        assert made in names(first, "/api/v1/namespaces")
        assert made not in names(second, "/api/v1/namespaces")
        assert first.kubeconfig != second.kubeconfig


def test_without_controllers_only_the_test_and_the_api_server_write_objects() -> None:
    spec = {"containers": [{"name": "c", "image": "i"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    workload = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    with Cluster(node=False, controllers=False) as cluster:
        space = cluster.namespace()
        core, apps = f"/api/v1/namespaces/{space}", f"/apis/apps/v1/namespaces/{space}"
        request(cluster, f"{apps}/deployments", {"metadata": {"name": "web"}, "spec": workload})
        request(
            cluster,
            f"{core}/services",
            {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 1}], "selector": {"a": "b"}}},
        )
        made = request(cluster, f"{core}/configmaps", config_map("owner"))
        owned = config_map("owned")
        owner = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "owner",
            "uid": made["metadata"]["uid"],
        }
        owned["metadata"]["ownerReferences"] = [owner]
        request(cluster, f"{core}/configmaps", owned)
        request(cluster, f"{core}/configmaps/owner", method="DELETE")
        request(cluster, f"{core}/pods", {"metadata": {"name": "p"}, "spec": spec})
        cluster.delete_namespace(space)
        # The API server itself serves the kind of a definition: its controllers have run after all this.
        request(cluster, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/crons.example.com"
        until(lambda: "Established" in str(request(cluster, path).get("status")))
        assert names(cluster, f"{core}/configmaps") == {"owned"}
        assert names(cluster, f"{core}/pods") == {"p"}
        assert names(cluster, f"{core}/serviceaccounts") == set()
        assert names(cluster, f"{apps}/replicasets") == set()
        assert names(cluster, "/apis/discovery.k8s.io/v1/endpointslices") == set()
        found = request(cluster, f"/api/v1/namespaces/{space}")
        assert found["status"]["phase"] == "Terminating"


async def test_cluster_runs_in_the_running_loop() -> None:
    async with Cluster(node=False) as cluster:
        name = cluster.namespace()
        found = await asyncio.to_thread(names, cluster, "/api/v1/namespaces")
        assert name in found
        assert (await cluster.api.get(f"/api/v1/namespaces/{name}"))["metadata"]["name"] == name
        cluster.reset()
        assert name not in await asyncio.to_thread(names, cluster, "/api/v1/namespaces")


def test_cluster_starts_in_a_thread_that_is_not_the_main_one() -> None:
    found: list[str] = []

    def use() -> None:
        with Cluster() as cluster:
            found.extend(names(cluster, "/api/v1/nodes"))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(60)

    assert found == ["kubeling"]


def test_objects_in_a_folder_survive_and_tokens_of_accounts_stay_valid(tmp_path: Path) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    with Cluster(tmp_path / "data", node=False) as cluster:
        request(cluster, "/api/v1/namespaces/default/configmaps", config_map("kept"))
        token = request(cluster, path, body)["status"]["token"]
        ca, admin = cluster.ca_file.read_bytes(), cluster.token
    with Cluster(tmp_path / "data", node=False) as cluster:
        assert "kept" in names(cluster, "/api/v1/namespaces/default/configmaps")
        assert cluster.ca_file.read_bytes() == ca
        assert cluster.token != admin
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        found = request(cluster, reviews, review, token=token)
        user = found["status"]["userInfo"]["username"]
        assert user == "system:serviceaccount:default:default"
    assert stat.S_IMODE((tmp_path / "data" / "service-account.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_temporary_folder_is_deleted_and_the_cluster_is_not_usable_later() -> None:
    with Cluster(node=False) as cluster:
        folder = cluster.kubeconfig.parent
    assert not folder.exists()
    with pytest.raises(NotStarted):
        _ = cluster.server
    with pytest.raises(NotStarted):
        cluster.reset()


def test_temporary_folder_of_a_killed_cluster_is_deleted_by_a_later_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "kubeling", "up", "--no-node"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip()).parent
        process.kill()
    assert folder.parent == tmp_path
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Cluster(node=False):
        until(lambda: not folder.exists())


def test_folder_that_may_belong_to_another_program_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a deletion follows a link, or does not need name, owner, mode and a free lock."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("target", "kubeling-other-name", "kubeling-no_lock0", "kubeling-mode_755")
    kept = [tmp_path / name for name in (*names, "kubeling-owner_00")]
    for folder in kept:
        folder.mkdir(mode=0o700)
        (folder / "lock").touch()
    (tmp_path / "kubeling-no_lock0" / "lock").unlink()
    (tmp_path / "kubeling-mode_755").chmod(0o755)
    (tmp_path / "kubeling-link_000").symlink_to(tmp_path / "target")
    (tmp_path / "kubeling-lock_000").mkdir(mode=0o700)
    (tmp_path / "kubeling-lock_000" / "lock").symlink_to(tmp_path / "target" / "lock")
    if os.geteuid() == 0:
        os.chown(kept[-1], 65534, 65534)
    else:
        kept.pop()
    with Cluster(node=False) as first, Cluster(node=False) as second:
        kept += [first.kubeconfig.parent, second.kubeconfig.parent]
        with Cluster(node=False):
            pass
        assert [folder for folder in kept if not folder.exists()] == []
    assert (tmp_path / "kubeling-lock_000").exists()


def test_folder_of_a_running_cluster_is_refused(tmp_path: Path) -> None:
    with Cluster(tmp_path, node=False) as cluster:
        before = cluster.kubeconfig.read_bytes()
        with pytest.raises(FolderInUse, match="a cluster runs in"), Cluster(tmp_path, node=False):
            pass
        assert cluster.kubeconfig.read_bytes() == before
        assert names(cluster, "/api/v1/namespaces")


@pytest.fixture(scope="module")
def used_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a cluster that has ended."""
    folder = tmp_path_factory.mktemp("used")
    with Cluster(folder):
        pass
    return folder


_FILES = ("ca.crt", "tls.crt", "tls.key", "service-account.key", "kubernetes.db")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, content) for name in _FILES for content in (b"", b"damaged")),
        ("ca.crt", None),
        ("tls.key", None),
    ],
)
def test_damaged_file_fails_the_start_and_its_fix_works(
    used_folder: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    """Fails if a client or the first pod finds the damage, or if the advice does not help.

    Without a content, the file is that of another cluster.
    """
    folder = tmp_path / "data"
    shutil.copytree(used_folder, folder)
    if content is None:
        open_certificates(tmp_path)
        content = (tmp_path / name).read_bytes()
    (folder / name).write_bytes(content)
    with pytest.raises(Error) as caught, Cluster(folder, node=False):
        pass

    assert str(folder / name) in caught.value.message
    advice = re.match(rf"remove (?:({folder}/\S+)|it) to |restore the file", caught.value.hint)
    assert advice is not None
    Path(advice[1] or folder / name).unlink()
    with Cluster(folder, node=False) as cluster:
        assert request(cluster, "/api/v1/namespaces")["items"]


def test_port_of_another_program_is_refused_by_name() -> None:
    with Cluster(node=False) as cluster:
        port = int(cluster.server.rpartition(":")[2])
        with pytest.raises(PortInUse, match=str(port)), Cluster(port=port, node=False):
            pass


def test_env_excludes_loopback_from_a_proxy(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert cluster.env() == {"KUBECONFIG": str(cluster.kubeconfig)}

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "intranet.example")

    assert cluster.env()["NO_PROXY"] == "intranet.example,127.0.0.1,localhost"
    assert cluster.env()["no_proxy"] == "127.0.0.1,localhost"


def test_temporary_folder_has_another_name_while_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the folder itself is deleted: a slow deletion removes the files of the next cluster in it."""
    folder, deleted = tmp_path / "data", list[tuple[str, bool]]()
    delete = shutil.rmtree

    def record(path: Path, **options: Any) -> None:
        deleted.append((path.name, folder.exists()))
        delete(path, **options)

    monkeypatch.setattr(shutil, "rmtree", record)
    with Cluster(folder, temporary=True, node=False):
        assert folder.exists()
    assert deleted == [(f".data-{os.getpid()}", False)]
    assert list(tmp_path.iterdir()) == []


def test_fix_of_an_error_is_in_its_notes(tmp_path: Path) -> None:
    with (
        pytest.raises(FolderInUse) as refused,
        Cluster(tmp_path, node=False),
        Cluster(tmp_path, node=False),
    ):
        pass
    assert refused.value.__notes__ == [f"Fix: {refused.value.hint}"]
    assert str(tmp_path) in refused.value.hint
