"""`podpass migrate scan`: targets, output and exit codes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.instance.instances import Podpass
from tests.migration.scan.images import METADATA, docker_archive, layer, metadata


def scan(podpass: Podpass, *words: str, **how: Any) -> tuple[int, dict[str, Any]]:
    done = podpass("migrate", "scan", *words, "-o", "json", **how)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


@pytest.mark.parametrize(
    ("content", "code", "result"),
    [
        ({METADATA: metadata("1.20.0")}, 0, "no migration step needed"),
        ({METADATA: metadata("1.12.0")}, 3, "update"),
        ({METADATA: metadata("1.2", "adal")}, 3, "sidecar until then"),
        ({"requirements.txt": b"azure-identity"}, 4, "check by hand"),
        ({}, 0, "no migration step needed"),
    ],
    ids=["none", "update", "sidecar", "check", "empty"],
)
def test_image_scan_has_the_exit_code_and_result_of_its_libraries(
    podpass: Podpass, tmp_path: Path, content: dict[str, bytes], code: int, result: str
) -> None:
    image = docker_archive(tmp_path / "image.tar", layer(content))
    found, output = scan(podpass, str(image))
    assert found == code
    [target] = output["targets"]
    assert target["result"] == result
    assert len(target["findings"]) == len(content)


def test_table_has_results_reasons_and_progress(podpass: Podpass, tmp_path: Path) -> None:
    image = docker_archive(tmp_path / "image.tar", layer({METADATA: metadata("1.12.0")}))
    done = podpass("migrate", "scan", str(image), env={"COLUMNS": ""})
    assert done.returncode == 3
    head, columns, row, reason = done.stdout.splitlines()
    assert head == f"{image}: update"
    assert columns.split() == ["RESULT", "LIBRARY", "VERSION", "AT", "LEAST", "FILE"]
    assert row.split() == ["update", "azure-identity", "1.12.0", "1.13.0", METADATA]
    assert reason == "  azure-identity: update to at least 1.13.0; use the sidecar until then."
    assert "layer 1 of 1" in done.stderr


def test_control_characters_of_an_image_do_not_reach_the_terminal(
    podpass: Podpass, tmp_path: Path
) -> None:
    evil = "\x1b]0;x\x07\u202e\x9b"
    content = {
        f"{evil}/requirements.txt": b"azure-identity==1.0\x1b[2J",
        f"{evil}/package.json": b"{",
    }
    image = docker_archive(tmp_path / f"i{evil}.tar", layer(content))
    for form in ("table", "json", "yaml"):
        done = podpass("migrate", "scan", str(image), "-o", form)
        shown = done.stdout + done.stderr
        assert not {each for each in shown if not each.isprintable()} - {"\n"}, form


def test_folder_without_library_gets_a_hint_about_the_sidecar(
    podpass: Podpass, tmp_path: Path
) -> None:
    done = podpass("migrate", "scan", str(tmp_path))
    assert done.returncode == 0
    assert "no identity library found. A program that asks the metadata service" in done.stdout


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("gone", 2, "docker save gone -o image.tar"),
        ("./gone", 2, "./gone does not exist"),
        ("/nonexistent/x.tar", 2, "pass the path of a folder"),
        ("registry.example.com/team/app:1", 2, "docker save registry.example.com/team/app:1"),
        ("pod/../x", 2, "not a valid name"),
        ("pod/..", 2, "not a valid name"),
        ("namespace/", 2, "not a valid name"),
        ("pod/a", 2, "there is no kubeconfig"),
    ],
)
def test_error_for_an_unknown_target_names_the_next_command(
    podpass: Podpass, tmp_path: Path, target: str, code: int, message: str
) -> None:
    environ = {"HOME": str(tmp_path), "KUBECONFIG": ""}
    done = podpass("migrate", "scan", target, env=environ, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr


def test_damaged_image_is_an_error_with_a_hint(podpass: Podpass, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"x" * 512)
    done = podpass("migrate", "scan", str(tmp_path / "image.tar"))
    assert done.returncode == 1
    assert "save the image again" in done.stderr


# ------------------------------------------------------------------------------------------- instance


def pod(name: str, image: str, *command: str, **spec: Any) -> str:
    container = {"name": "app", "image": image, **({"command": command} if command else {})}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }
    return json.dumps(body)


@pytest.fixture(scope="module")
def running(
    make_podpass: Callable[[], Podpass], tmp_path_factory: pytest.TempPathFactory
) -> Podpass:
    """Return an instance with pods: an old program, an unknown image, and one of the node's network."""
    podpass = make_podpass()
    folder = tmp_path_factory.mktemp("program")
    (folder / "requirements.txt").write_text("azure-identity==1.12.0\n")
    (folder / "main.py").write_text("import time; time.sleep(9999)\n")
    status = podpass.up()
    podpass("image", "add", "example.com/old", "--", "python3", str(folder / "main.py"))
    pods = [
        pod("old", "example.com/old"),
        pod("other", "example.com/unknown:1"),
        pod("host", "x", "python3", str(folder / "main.py"), hostNetwork=True),
    ]
    environ = {"KUBECONFIG": status["kubernetes"]["kubeconfig"]}
    for each in pods:
        done = podpass("run", "--", "kubectl", "apply", "-f", "-", input=each, env=environ)
        assert done.returncode == 0, done.stderr
    return podpass


def test_image_of_the_instance_is_scanned_by_its_program(running: Podpass) -> None:
    code, output = scan(running, "example.com/old:latest")
    assert code == 3
    assert [
        each["version"] for each in output["targets"][0]["findings"] if each["result"] == "update"
    ] == ["1.12.0"]


def test_pod_is_scanned_by_the_program_of_its_image(running: Podpass) -> None:
    code, output = scan(running, "pod/old", env={"KUBECONFIG": ""})
    assert code == 3
    assert output["targets"][0]["target"] == "pod/old container app"


def test_namespace_scan_lists_every_pod_and_the_command_for_an_unknown_image(
    running: Podpass,
) -> None:
    code, output = scan(running, "namespace/default", env={"KUBECONFIG": ""})
    assert code == 3
    by_name = {each["target"]: each for each in output["targets"]}
    assert list(by_name) == [f"pod/{each} container app" for each in ("host", "old", "other")]
    other = by_name["pod/other container app"]
    assert other["result"] == "not decided"
    assert "docker save example.com/unknown:1 -o image.tar" in other["notes"][0]
    host = by_name["pod/host container app"]
    assert host["result"] == "update"
    assert "the sidecar cannot serve it" in host["notes"][0]


@pytest.mark.parametrize("name", ["kube-public", "gone"], ids=["empty", "missing"])
def test_namespace_without_pods_has_the_result_not_decided(running: Podpass, name: str) -> None:
    """Exit code 0 would say that no step is needed, for a namespace that the user misspelled."""
    code, output = scan(running, f"namespace/{name}", env={"KUBECONFIG": ""})
    assert code == 4
    [target] = output["targets"]
    assert target["result"] == "not decided"
    assert "the namespace does not exist or has no pods" in target["notes"][0]


def test_init_containers_are_scanned_except_those_of_the_webhook(running: Podpass) -> None:
    body = json.loads(pod("inits", "example.com/unknown:1"))
    old = {"name": "old", "image": "example.com/old"}
    sidecar = {"name": "azwi-proxy", "image": "example.com/unknown:1"}
    body["spec"]["initContainers"] = [old, sidecar]
    environ = {"KUBECONFIG": running.status()["kubernetes"]["kubeconfig"]}
    words = ["run", "--", "kubectl", "apply", "-n", "kube-node-lease", "-f", "-"]
    done = running(*words, input=json.dumps(body), env=environ)
    assert done.returncode == 0, done.stderr
    code, output = scan(running, "pod/inits", "-n", "kube-node-lease", env={"KUBECONFIG": ""})
    assert code == 3
    names = [each["target"] for each in output["targets"]]
    assert names == ["pod/inits container old", "pod/inits container app"]


def test_image_of_another_cluster_is_not_looked_up_on_this_machine(
    running: Podpass, tmp_path: Path
) -> None:
    """The same API server under another name is another cluster."""
    config = yaml.safe_load(Path(running.status()["kubernetes"]["kubeconfig"]).read_text())
    cluster = config["clusters"][0]["cluster"]
    cluster["server"] = cluster["server"].replace("127.0.0.1", "localhost")
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    code, output = scan(running, "pod/old", "--kubeconfig", str(tmp_path / "config"))
    assert code == 4
    assert "is in another cluster's registry" in output["targets"][0]["notes"][0]


def test_missing_pod_is_reported(running: Podpass) -> None:
    began = time.monotonic()
    done = running("migrate", "scan", "pod/gone", env={"KUBECONFIG": ""})
    assert done.returncode == 1
    assert 'pods "gone" not found' in done.stderr
    assert "kubectl get pods --namespace default" in done.stderr
    assert time.monotonic() - began < 60
