"""The demo: an instance, an ordinary manifest, one token's journey, and two ways it can break.

It uses the program as a stranger would: the command line for the instance, the Kubernetes API for the rest.
"""

import asyncio
import copy
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podpass.errors import Error
from podpass.kube import APPLY_PATCH, KubeClient, KubeError
from podpass.names import USE_LABEL, subject
from podpass.tools.local.hops import end_of, journey, read_hops

Say = Callable[[str], None]
Manifest = list[dict[str, Any]]

_WAIT_SECONDS = 45
_OTHER_ACCOUNT = "other"


class DemoFailed(Error):
    """A step of the demo did not end as it should."""

    code = "demo_failed"
    hint = "run it again with --keep and look at podpass.log in the folder it names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a pod ended, what it printed, and how long that took in seconds."""

    phase: str
    printed: str
    seconds: float


def examples() -> Path:
    """Find the folder of examples, in a checkout or in an installed package."""
    here = Path(__file__).resolve()
    for folder in (here.parents[2] / "examples", here.parents[4] / "examples"):
        if (folder / "quickstart" / "app.yaml").is_file():
            return folder / "quickstart"
    raise DemoFailed("the examples are not where they should be", hint="install podpass again")


def without_label(manifest: Manifest) -> Manifest:
    """Give the same pod under another name and without the label that opts in."""
    changed = [copy.deepcopy(item) for item in manifest if item["kind"] == "Pod"]
    for pod in changed:
        pod["metadata"]["name"] += "-no-label"
        pod["metadata"].get("labels", {}).pop(USE_LABEL, None)
    return changed


def other_account(manifest: Manifest) -> Manifest:
    """Give the same pod under an account that asks for the same identity, which does not trust it."""
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
    """One run of the demo in a folder of its own."""

    def __init__(self, data_dir: Path, say: Say) -> None:
        self._data_dir = data_dir
        self._say = say
        self._log = data_dir / "podpass.log"

    def podpass(self, *arguments: str) -> str:
        """Run a podpass command on the demo's instance.

        Errors:  DemoFailed with the command's own last line.
        """
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "podpass.tools.cli",
                *arguments,
                "--data-dir",
                str(self._data_dir),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            raise DemoFailed(f"podpass {arguments[0]}: {' '.join(lines[-2:])}")
        return done.stdout

    async def run(self) -> None:
        """Run the whole demo against a fresh instance, which is stopped at the end."""
        folder = examples()
        began = time.monotonic()
        try:
            self.podpass("up", "--detach", "--port-base", "0", "--seed", str(folder / "seed.yaml"))
            status = json.loads(self.podpass("status", "-o", "json"))
            self._say(f"instance   ready in {time.monotonic() - began:.1f} s, on loopback only")
            self._say(
                "seed       identity, federated credential, vault and role: examples/quickstart/seed.yaml"
            )
            client = KubeClient.from_kubeconfig(Path(status["kubernetes"]["kubeconfig"]))
            try:
                await self._scenes(
                    client, list(yaml.safe_load_all((folder / "app.yaml").read_text()))
                )
            finally:
                await client.close()
        finally:
            self.podpass("down")
            self._say("stopped    no process, port or file is left behind")

    async def _scenes(self, client: KubeClient, manifest: Manifest) -> None:
        await self._works(client, manifest)
        await self._breaks(
            client,
            without_label(manifest),
            title=f"The same pod without the label {USE_LABEL}",
            why=(
                "nobody asked the webhook, so nothing was injected. "
                f'Cure: {USE_LABEL}: "true" on the pod template'
            ),
        )
        await self._breaks(
            client,
            other_account(manifest),
            title="The same pod under a ServiceAccount that the identity does not trust",
            why=(
                f"issuer and audience are right, the subject is {subject('default', _OTHER_ACCOUNT)}. "
                "Cure: a federated credential with that subject"
            ),
        )

    async def _works(self, client: KubeClient, manifest: Manifest) -> None:
        mark = end_of(self._log)
        outcome = await self._play(client, manifest)
        if outcome.phase != "Succeeded":
            raise DemoFailed(f"the pod ended as {outcome.phase}: {_last_line(outcome.printed)}")
        self._say(
            f"manifest   examples/quickstart/app.yaml applied, pod done in {outcome.seconds:.1f} s"
        )
        self._say("")
        self._say(f"The pod, which holds no secret, printed: {outcome.printed.strip()}")
        self._say("")
        hops = journey(read_hops(self._log, mark))
        missing = {"account", "admission", "assertion", "exchange", "resource"} - {
            h.stage for h in hops
        }
        if missing:
            raise DemoFailed(f"hops missing from the log: {', '.join(sorted(missing))}")
        for number, hop in enumerate(hops, 1):
            self._say(f"  {number} {hop.stage:10} {hop.asked}")
            self._say(f"               checked: {', '.join(hop.checked)}  ({hop.took_ms:.1f} ms)")

    async def _breaks(
        self, client: KubeClient, manifest: Manifest, *, title: str, why: str
    ) -> None:
        outcome = await self._play(client, manifest)
        if outcome.phase != "Failed":
            raise DemoFailed(f"{title}: the pod ended as {outcome.phase}, it should fail")
        self._say("")
        self._say(title)
        self._say(f"  the user sees: {_telling_line(outcome.printed)}")
        self._say(f"  why: {why}")

    async def _play(self, client: KubeClient, manifest: Manifest) -> Outcome:
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
        phase = await _ended(client, path)
        printed = await client.text(f"{path}/log")
        return Outcome(phase=phase, printed=printed, seconds=time.monotonic() - began)


async def _ended(client: KubeClient, path: str) -> str:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        phase = (await client.get(path))["status"].get("phase", "Pending")
        if phase in ("Succeeded", "Failed"):
            return str(phase)
        await asyncio.sleep(0.05)
    raise DemoFailed(f"the pod did not end within {_WAIT_SECONDS} s")


def _collection(item: dict[str, Any]) -> str:
    namespace = item["metadata"].get("namespace", "default")
    plural = {"Pod": "pods", "ServiceAccount": "serviceaccounts", "ConfigMap": "configmaps"}
    return f"/api/v1/namespaces/{namespace}/{plural[item['kind']]}"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing)"


def _telling_line(text: str) -> str:
    """Pick the line that a user would look for: the AADSTS code, else the last one that is no advice."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if "AADSTS" in line:
            return line[line.index("AADSTS") :].split(" Trace ID")[0]
    for line in lines:
        if "WorkloadIdentityCredential" in line:
            return line
    return _last_line(text)


async def run_demo(say: Say, *, keep: bool = False) -> None:
    """Run the demo in a temporary folder, kept for a look if asked.

    Errors:  DemoFailed.
    """
    folder = Path(tempfile.mkdtemp(prefix="podpass-demo-"))
    try:
        await Demo(folder, say).run()
    except KubeError as exc:
        raise DemoFailed(str(exc)) from exc
    finally:
        if keep:
            say(f"kept       {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
