"""Names that the shell completes, from the API server of the command's kubeconfig."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest

from podpass.cli import cloud_status, cluster, completion_values, doctor
from tests.kubeconfigs import build_kubeconfig

_NAMES = {
    "/api/v1/namespaces": ["shop", "other"],
    "/api/v1/namespaces/shop/pods": ["web-1", "deploy-tool"],
    "/apis/apps/v1/namespaces/shop/deployments": ["web", "worker"],
    "/apis/batch/v1/namespaces/shop/jobs": ["report"],
    "/api/v1/serviceaccounts": ["web"],
}


class _Api(BaseHTTPRequestHandler):
    """Lists the objects of each path."""

    def do_GET(self) -> None:
        found = _NAMES.get(self.path.partition("?")[0])
        items = [{"metadata": {"name": name, "namespace": "shop"}} for name in found or ()]
        body = json.dumps({"items": items}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[click.Context]:
    """The context of `podpass doctor -n shop` with a cluster."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = build_kubeconfig(f"http://127.0.0.1:{server.server_port}")
        path = tmp_path / "config"
        path.write_text(json.dumps(config))
        context = click.Context(doctor.command)
        context.params = {"kubeconfig": path, "namespace": "shop"}
        yield context
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("complete", "typed", "expected"),
    [
        ("complete_namespaces", "s", ["shop"]),
        ("complete_pods", "", ["web-1", "deploy-tool"]),
        ("complete_workloads", "we", ["web-1"]),
        ("complete_workloads", "deploy", ["deploy-tool", "deployment/web", "deployment/worker"]),
        ("complete_workloads", "deployment/we", ["deployment/web"]),
        ("complete_workloads", "job/", ["job/report"]),
        ("complete_workloads", "statefulset/", []),
        ("complete_accounts_of_all_namespaces", "", ["admin", "shop/web"]),
    ],
)
def test_names_of_the_cluster_are_completed(
    context: click.Context, complete: str, typed: str, expected: list[str]
) -> None:
    found = getattr(completion_values, complete)(context, click.Option(["--x"]), typed)
    assert [each.value for each in found] == expected


def test_value_of_two_completions_is_completed_once(context: click.Context) -> None:
    complete = completion_values.complete_any(
        completion_values.complete_namespaces, completion_values.complete_namespaces
    )
    found = complete(context, click.Option(["--x"]), "s")
    assert [each.value for each in found] == ["shop"]


def test_completion_of_podpass_cloud_ignores_a_running_instance(
    context: click.Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".kube").mkdir(parents=True)
    (home / ".kube/config").write_bytes(context.params["kubeconfig"].read_bytes())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(cluster, "read_status", lambda _: {"kubernetes": {"kubeconfig": "/none"}})
    of_cloud = click.Context(cloud_status.command)
    found = completion_values.complete_namespaces(of_cloud, click.Option(["--x"]), "")
    assert [each.value for each in found] == ["shop", "other"]
