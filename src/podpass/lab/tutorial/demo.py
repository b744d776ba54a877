"""The demo: start an instance, run a pod, print the hops of its token, then show two failures.

It uses podpass as a user does: the command line for the instance, the Kubernetes API for everything else.
"""

import asyncio
import copy
import json
import re
import shlex
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podpass.diagnose.trace.hop import select_hops
from podpass.diagnose.trace.reader import end_position, read_all
from podpass.errors import Error
from podpass.kubernetes.client import APPLY_PATCH, KubeClient, KubeError
from podpass.kubernetes.service_account.names import subject
from podpass.lab.cluster.samples import examples
from podpass.lab.cluster.samples.cache import is_importable
from podpass.lab.tutorial import program
from podpass.names import USE_LABEL
from podpass.settings.local import EMBEDDED

Echo = Callable[[str], None]
Manifest = list[dict[str, Any]]

_WAIT_SECONDS = 45
# Modules and their packages.
_SDK = {"azure.identity": "azure-identity", "azure.keyvault.secrets": "azure-keyvault-secrets"}
_OTHER_ACCOUNT = "other"
# Every token of a pod passes them; only the migration sidecar has another one, `imds`.
_STAGES = ("account", "admission", "assertion", "exchange", "resource")
_ADVICE = re.compile(r" See the troubleshooting guide for more information: \S+\.")


class DemoFailed(Error):
    """A step of the demo failed."""

    code = "demo_failed"
    hint = "run it again with --keep and check podpass.log in the directory that it prints"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOutcome:
    """Final phase and output of a pod, and its duration in seconds."""

    phase: str
    printed: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCase:
    """One failure to show: its title, cause and fix, and the last stage that the token reaches."""

    title: str
    cause: str
    fix: str
    last_stage: str | None


def check_sdk() -> None:
    """Check that the modules which the pod imports are installed. Raises DemoFailed."""
    missing = {module: name for module, name in _SDK.items() if not is_importable(module)}
    if missing:
        packages = " ".join(missing.values())
        raise DemoFailed(
            f"the demo's pod needs {' and '.join(missing)}",
            hint=f"{shlex.quote(sys.executable)} -m pip install {packages}",
        )


def without_label(manifest: Manifest) -> Manifest:
    """Return the same pod with another name and without the opt-in label."""
    changed = [copy.deepcopy(item) for item in manifest if item["kind"] == "Pod"]
    for pod in changed:
        pod["metadata"]["name"] += "-no-label"
        pod["metadata"].get("labels", {}).pop(USE_LABEL, None)
    return changed


def other_account(manifest: Manifest) -> Manifest:
    """Return the same pod with another ServiceAccount, which the identity does not trust."""
    changed = [
        copy.deepcopy(item) for item in manifest if item["kind"] in ("ServiceAccount", "Pod")
    ]
    for item in changed:
        if item["kind"] == "ServiceAccount":
            item["metadata"]["name"] = _OTHER_ACCOUNT
        else:
            item["metadata"]["name"] += "-other-account"
            item["spec"]["serviceAccountName"] = _OTHER_ACCOUNT
    return changed


class Demo:
    """One run of the demo in a temporary directory."""

    def __init__(self, data_dir: Path, echo: Echo, kubernetes: str = EMBEDDED) -> None:
        self._data_dir = data_dir
        self._kubernetes = kubernetes
        self._echo = echo
        self._log = data_dir / "podpass.log"
        self.is_running = False

    async def podpass(self, *arguments: str) -> str:
        """Run a podpass command on the instance of the demo.

        Raises DemoFailed, with the last lines of the command's output.
        """
        return await program.run_podpass(self._data_dir, *arguments, failed=DemoFailed)

    async def run(self) -> None:
        """Run the demo on a new instance, and stop the instance at the end. Raises DemoFailed."""
        check_sdk()
        folder = examples.find_example("quickstart")
        began = time.monotonic()
        self._echo("starting   an instance in a temporary directory")
        self.is_running = True
        try:
            chosen = ("--kubernetes", self._kubernetes, "--seed", str(folder / "seed.yaml"))
            await self.podpass("up", "--detach", "--port-base", "0", *chosen)
            status = json.loads(await self.podpass("status", "-o", "json"))
            self._echo(f"instance   ready in {time.monotonic() - began:.1f} s, on loopback only")
            self._echo(
                "seed       identity, federated credential, vault and role: examples/quickstart/seed.yaml"
            )
            client = KubeClient.from_kubeconfig(Path(status["kubernetes"]["kubeconfig"]))
            try:
                await self._run_scenes(
                    client, list(yaml.safe_load_all((folder / "app.yaml").read_text()))
                )
            finally:
                await client.close()
        finally:
            await self.podpass("down")
            self.is_running = False
            self._echo("\nstopped    all processes have exited and all ports are closed")

    async def _run_scenes(self, client: KubeClient, manifest: Manifest) -> None:
        await self._show_success(client, manifest)
        await self._show_failure(
            client,
            without_label(manifest),
            FailureCase(
                title=f"The same pod without the label {USE_LABEL}",
                cause="the API server did not call the webhook, so nothing was injected",
                fix=f'{USE_LABEL}: "true" on the pod template',
                last_stage=None,
            ),
        )
        await self._show_failure(
            client,
            other_account(manifest),
            FailureCase(
                title="The same pod with a ServiceAccount that the identity does not trust",
                cause=f"no federated credential has the subject {subject('default', _OTHER_ACCOUNT)}",
                fix="a federated credential with that subject, or the ServiceAccount it trusts",
                last_stage="exchange",
            ),
        )

    async def _show_success(self, client: KubeClient, manifest: Manifest) -> None:
        mark = end_position(self._log)
        outcome = await self._run_pod(client, manifest)
        if outcome.phase != "Succeeded":
            raise DemoFailed(
                f"the pod ended with phase {outcome.phase}: {_last_line(outcome.printed)}"
            )
        self._echo(
            f"manifest   examples/quickstart/app.yaml: pod succeeded after {outcome.seconds:.1f} s"
        )
        self._echo(f"\nThe pod, which holds no secret, printed: {outcome.printed.strip()}\n")
        hops = select_hops(read_all(self._log, mark))
        if [hop.stage for hop in hops] != list(_STAGES):
            raise DemoFailed(f"the log contains only these hops: {[hop.stage for hop in hops]}")
        for number, hop in enumerate(hops, 1):
            self._echo(f"  {number} {hop.stage:10} {hop.asked:66} {hop.took_ms:6.1f} ms")
            for line in textwrap.wrap(f"checked: {', '.join(hop.checked)}", 84):
                self._echo(f"               {line}")

    async def _show_failure(
        self, client: KubeClient, manifest: Manifest, expected: FailureCase
    ) -> None:
        mark = end_position(self._log)
        outcome = await self._run_pod(client, manifest)
        hops = select_hops(read_all(self._log, mark))
        reached = hops[-1].stage if hops else None
        if outcome.phase != "Failed" or reached != expected.last_stage:
            raise DemoFailed(
                f"{expected.title}: the pod ended with phase {outcome.phase} at stage {reached}"
            )
        self._echo(f"\n{expected.title}")
        path = [hop.stage for hop in hops[:-1]] + [f"{h.stage} ({h.outcome})" for h in hops[-1:]]
        self._echo(f"  hops:      {', '.join(path) or 'none'}")
        shown = textwrap.fill(_error_line(outcome.printed), 100, subsequent_indent=" " * 13)
        self._echo(f"  output:    {shown}")
        self._echo(f"  cause:     {expected.cause}")
        self._echo(f"  fix:       {expected.fix}")

    async def _run_pod(self, client: KubeClient, manifest: Manifest) -> PodOutcome:
        began = time.monotonic()
        for item in manifest:
            await client.patch(
                f"{_collection(item)}/{item['metadata']['name']}",
                item,
                APPLY_PATCH,
                {"fieldManager": "podpass-demo"},
            )
        pod = next(item for item in manifest if item["kind"] == "Pod")
        path = f"{_collection(pod)}/{pod['metadata']['name']}"
        phase = await _wait_ended(client, path)
        printed = await client.text(f"{path}/log")
        return PodOutcome(phase=phase, printed=printed, seconds=time.monotonic() - began)


async def _wait_ended(client: KubeClient, path: str) -> str:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        phase = (await client.get(path))["status"].get("phase", "Pending")
        if phase in ("Succeeded", "Failed"):
            return str(phase)
        await asyncio.sleep(0.05)
    raise DemoFailed(f"the pod did not end within {_WAIT_SECONDS} seconds")


def _collection(item: dict[str, Any]) -> str:
    namespace = item["metadata"].get("namespace", "default")
    plural = {"Pod": "pods", "ServiceAccount": "serviceaccounts", "ConfigMap": "configmaps"}
    return f"/api/v1/namespaces/{namespace}/{plural[item['kind']]}"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing)"


def _error_line(text: str) -> str:
    """Return the line with the AADSTS code, else the line of the credential, else the last line."""
    lines = [_ADVICE.sub("", line.strip()) for line in text.splitlines() if line.strip()]
    for line in lines:
        if "AADSTS" in line:
            return line[line.index("AADSTS") :].split(" Trace ID")[0]
    for line in lines:
        if "WorkloadIdentityCredential" in line:
            return line
    return _last_line(text)


async def run_demo(
    echo: Echo, *, keep: bool = False, kubernetes: str = EMBEDDED, command: str = "podpass"
) -> None:
    """Run the demo in a temporary directory; `keep` keeps the directory.

    `command` starts podpass, for the commands that are printed at the end. Raises DemoFailed.
    """
    folder = Path(tempfile.mkdtemp(prefix="podpass-demo-"))
    demo = Demo(folder, echo, kubernetes)
    try:
        await demo.run()
    except KubeError as exc:
        raise DemoFailed(str(exc)) from exc
    finally:
        # `podpass down` needs the directory of an instance that is still running.
        if keep or demo.is_running:
            echo(f"data dir   {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    _print_next_steps(echo, command)


def _print_next_steps(echo: Echo, command: str) -> None:
    folder = examples.find_example("quickstart")
    if Path.cwd() != Path("/") and folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    seed, manifest = (shlex.quote(str(folder / name)) for name in ("seed.yaml", "app.yaml"))
    echo("\nNext: the same with an instance of your own, which keeps its data.\n")
    for line in (
        f"{command} up --detach --seed {seed}",
        f'eval "$({command} env)"',
        f"kubectl apply -f {manifest}",
        "kubectl logs -f read-secret",
        f"{command} explain AADSTS700213     # or pipe the text of an error into it",
        f"{command} down",
    ):
        echo(f"  {line}")
