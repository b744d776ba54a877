"""The demo: an instance, an ordinary manifest, one token's journey, and two ways it can break.

It uses the program as a stranger would: the command line for the instance, the Kubernetes API for the rest.
"""

import asyncio
import copy
import importlib.util
import json
import re
import shutil
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podpass.errors import Error
from podpass.kubernetes.client import APPLY_PATCH, KubeClient, KubeError
from podpass.kubernetes.service_account.names import subject
from podpass.local import examples, program
from podpass.local.token_trace import STAGES, end_of, journey, read_hops
from podpass.names import USE_LABEL
from podpass.settings.local import EMBEDDED

Say = Callable[[str], None]
Manifest = list[dict[str, Any]]

_WAIT_SECONDS = 45
_SDK = ("azure.identity", "azure.keyvault.secrets")
_OTHER_ACCOUNT = "other"
_ADVICE = re.compile(r" See the troubleshooting guide for more information: \S+\.")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A way the journey breaks: what was changed, why it fails, what mends it, how far it comes."""

    title: str
    why: str
    cure: str
    last_stage: str | None


def check_sdk() -> None:
    """Look for what the demo's pod imports, before anything is started.

    Errors:  DemoFailed.
    """
    missing = [name for name in _SDK if not _importable(name)]
    if missing:
        raise DemoFailed(
            f"the demo's pod needs {' and '.join(missing)}", hint="pip install 'podpass[demo]'"
        )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent is there
        return False


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

    def __init__(self, data_dir: Path, say: Say, kubernetes: str = EMBEDDED) -> None:
        self._data_dir = data_dir
        self._kubernetes = kubernetes
        self._say = say
        self._log = data_dir / "podpass.log"
        self.left_running = False

    def podpass(self, *arguments: str) -> str:
        """Run a podpass command on the demo's instance.

        Errors:  DemoFailed with the command's own last line.
        """
        return program.podpass(self._data_dir, *arguments, failed=DemoFailed)

    async def run(self) -> None:
        """Run the whole demo against a fresh instance, which is stopped at the end.

        Errors:  DemoFailed.
        """
        check_sdk()
        folder = examples.find("quickstart")
        began = time.monotonic()
        self._say("starting   an instance in a folder of its own")
        self.left_running = True
        try:
            chosen = ("--kubernetes", self._kubernetes, "--seed", str(folder / "seed.yaml"))
            self.podpass("up", "--detach", "--port-base", "0", *chosen)
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
            self.left_running = False
            self._say("\nstopped    no process or port is left behind")

    async def _scenes(self, client: KubeClient, manifest: Manifest) -> None:
        await self._works(client, manifest)
        await self._breaks(
            client,
            without_label(manifest),
            Break(
                title=f"The same pod without the label {USE_LABEL}",
                why="nobody asked the webhook, so nothing was injected",
                cure=f'{USE_LABEL}: "true" on the pod template',
                last_stage=None,
            ),
        )
        await self._breaks(
            client,
            other_account(manifest),
            Break(
                title="The same pod under a ServiceAccount that the identity does not trust",
                why=f"no credential names the subject {subject('default', _OTHER_ACCOUNT)}",
                cure="a federated credential with that subject, or the ServiceAccount it trusts",
                last_stage="exchange",
            ),
        )

    async def _works(self, client: KubeClient, manifest: Manifest) -> None:
        mark = end_of(self._log)
        outcome = await self._play(client, manifest)
        if outcome.phase != "Succeeded":
            raise DemoFailed(f"the pod ended as {outcome.phase}: {_last_line(outcome.printed)}")
        self._say(f"manifest   examples/quickstart/app.yaml: pod done in {outcome.seconds:.1f} s")
        self._say(f"\nThe pod, which holds no secret, printed: {outcome.printed.strip()}\n")
        hops = journey(read_hops(self._log, mark))
        if [hop.stage for hop in hops] != list(STAGES):
            raise DemoFailed(f"of the hops, the log holds only {[hop.stage for hop in hops]}")
        for number, hop in enumerate(hops, 1):
            self._say(f"  {number} {hop.stage:10} {hop.asked:66} {hop.took_ms:6.1f} ms")
            for line in textwrap.wrap(f"checked: {', '.join(hop.checked)}", 84):
                self._say(f"               {line}")

    async def _breaks(self, client: KubeClient, manifest: Manifest, expected: Break) -> None:
        mark = end_of(self._log)
        outcome = await self._play(client, manifest)
        hops = journey(read_hops(self._log, mark))
        reached = hops[-1].stage if hops else None
        if outcome.phase != "Failed" or reached != expected.last_stage:
            raise DemoFailed(f"{expected.title}: ended as {outcome.phase} at {reached}")
        self._say(f"\n{expected.title}")
        way = [hop.stage for hop in hops[:-1]] + [f"{h.stage} ({h.outcome})" for h in hops[-1:]]
        self._say(f"  its hops:  {', '.join(way) or 'none'}")
        seen = textwrap.fill(_telling_line(outcome.printed), 100, subsequent_indent=" " * 13)
        self._say(f"  user sees: {seen}")
        self._say(f"  why:       {expected.why}")
        self._say(f"  cure:      {expected.cure}")

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
    """Pick the line that a user would look for: the AADSTS code, else what the credential lacks."""
    lines = [_ADVICE.sub("", line.strip()) for line in text.splitlines() if line.strip()]
    for line in lines:
        if "AADSTS" in line:
            return line[line.index("AADSTS") :].split(" Trace ID")[0]
    for line in lines:
        if "WorkloadIdentityCredential" in line:
            return line
    return _last_line(text)


async def run_demo(say: Say, *, keep: bool = False, kubernetes: str = EMBEDDED) -> None:
    """Run the demo in a temporary folder, kept for a look if asked.

    Errors:  DemoFailed.
    """
    folder = Path(tempfile.mkdtemp(prefix="podpass-demo-"))
    demo = Demo(folder, say, kubernetes)
    try:
        await demo.run()
    except KubeError as exc:
        raise DemoFailed(str(exc)) from exc
    finally:
        # Without its folder an instance that would not stop could not be told to any more.
        if keep or demo.left_running:
            say(f"kept       {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
