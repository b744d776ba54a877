"""Record what the reference's webhook answers: `python -m tests.peers.record_admission [--check]`.

It sends the pods of tests/vectors/admission_1_31.json to the webhook of azure-workload-identity, with an API
server that reports the version in the file, and writes the answers into the file. With `--check` it only
compares. The reference listens on port 9443, which must be free.
"""

import asyncio
import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import trustme
from kubeling.apiserver.patch.json_patch import json_patch

from bench.admission import REFERENCE_PORT
from bench.fake_api_server import FakeApiServer, kubeconfig
from bench.peers.build import build_program
from podpass.http.server import bind, serving

VECTORS = Path(__file__).parents[1] / "vectors"
FILE = VECTORS / "admission_1_31.json"
_EMPTY: dict[str, Any] = {"creationTimestamp": None, "status": {}, "resources": {}}
_START_SECONDS = 60
Case = dict[str, Any]


def build_review(case: Case, number: int) -> dict[str, Any]:
    """Build the review of a case; each case has a namespace of its own, with its ServiceAccount."""
    pod = json.loads(json.dumps(case["pod"]))
    pod["metadata"]["namespace"] = _namespace(number)
    request = {
        "uid": f"{number:036}",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": _namespace(number),
        "operation": "CREATE",
        "userInfo": {"username": "system:admin"},
        "object": pod,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def read_answer(case: Case, review: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the vectors expect: the decision, and the patched pod without empty values."""
    response = answer["response"]
    if not response["allowed"]:
        return {"allowed": False, "code": response["status"]["code"]}
    pod = review["request"]["object"]
    if "patch" in response:
        pod = json_patch(pod, json.loads(base64.b64decode(response["patch"])))
    pod["metadata"]["namespace"] = case["pod"]["metadata"]["namespace"]
    return {"allowed": True, "pod": _without_empty(pod)}


def _without_empty(value: Any) -> Any:
    """Remove what Go writes for values that are not set."""
    if isinstance(value, dict):
        return {
            key: _without_empty(each)
            for key, each in value.items()
            if not (key in _EMPTY and each == _EMPTY[key])
        }
    return [_without_empty(each) for each in value] if isinstance(value, list) else value


def _namespace(number: int) -> str:
    return f"case-{number}"


def _account(case: Case, number: int) -> dict[str, Any]:
    name = case["pod"]["spec"].get("serviceAccountName") or "default"
    annotations = case["serviceAccount"]
    metadata = {"name": name, "namespace": _namespace(number), "uid": f"{number:036}"}
    return {
        "metadata": {**metadata, "resourceVersion": str(number + 1), "annotations": annotations}
    }


async def record(vectors: dict[str, Any], configs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answers of the reference to all cases, in their order."""
    cases = list(enumerate(vectors["cases"]))
    found: dict[int, dict[str, Any]] = {}
    server = FakeApiServer(0, version=vectors["version"])
    server.accounts += [
        _account(case, number) for number, case in cases if case["serviceAccount"] is not None
    ]
    for name, config in configs.items():
        chosen = [(number, case) for number, case in cases if case["config"] == name]
        if not chosen:
            continue
        async with _reference(server, config) as tls, aiohttp.ClientSession() as session:
            for number, case in chosen:
                review = build_review(case, number)
                url = f"https://localhost:{REFERENCE_PORT}/mutate-v1-pod"
                async with session.post(url, json=review, ssl=tls) as response:
                    found[number] = read_answer(case, review, json.loads(await response.read()))
    return [found[number] for number, _ in cases]


@asynccontextmanager
async def _reference(
    server: FakeApiServer, config: dict[str, Any]
) -> AsyncIterator[ssl.SSLContext]:
    """Run the reference with one configuration; yield the trust of its certificate."""
    program = await asyncio.to_thread(build_program, "azwi-webhook")
    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    sock = bind("127.0.0.1", 0)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
        leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
        (folder / "kubeconfig").write_text(kubeconfig(sock))
        await stack.enter_async_context(serving(server.app, sock))
        command = [str(program), f"--webhook-cert-dir={folder}", "--disable-cert-rotation=true"]
        command += ["--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0", "--log-level=info"]
        environ = {**os.environ, **config["env"], "KUBECONFIG": str(folder / "kubeconfig")}
        child = await asyncio.create_subprocess_exec(
            *command,
            *config["args"],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await _wait_until_listening(child)
            yield ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def _wait_until_listening(child: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            if child.returncode is not None:
                raise RuntimeError(f"the reference exited; is port {REFERENCE_PORT} free?")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", REFERENCE_PORT)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


def main() -> int:
    """Record or compare; return the exit code."""
    vectors = json.loads(FILE.read_text())
    configs = json.loads((VECTORS / "admission.json").read_text())["configs"]
    answers = asyncio.run(record(vectors, configs))
    differ = [
        case["title"]
        for case, answer in zip(vectors["cases"], answers, strict=True)
        if case["expect"] != answer
    ]
    print(
        f"{len(answers)} cases, {len(differ)} differ from the file: {', '.join(differ) or 'none'}"
    )
    if "--check" in sys.argv:
        return 1 if differ else 0
    for case, answer in zip(vectors["cases"], answers, strict=True):
        if case["expect"] != answer:  # the order of its keys stays
            case["expect"] = answer
    FILE.write_text(json.dumps(vectors, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
