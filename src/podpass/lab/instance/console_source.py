"""What the console of an instance shows: the log, the Kubernetes API and the directory."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from podpass.console import pod_view
from podpass.console.directory_view import DirectoryView
from podpass.console.fixes import KnownObjects
from podpass.console.model import VIEWS, Listing, TrustGraphView
from podpass.console.timeline import Timeline
from podpass.diagnose.trace.hop import HopResult
from podpass.diagnose.trace.reader import InstanceLog, LogPosition, end_position
from podpass.kubernetes.client import KubeClient
from podpass.lab.data.datadir import DataDir, InstanceConfig

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory

# The end of the log that is read when the console is opened: about 20,000 hops.
_HISTORY_BYTES = 16 * 1024 * 1024
# One step reads 256 KiB of each log: enough for the history.
_MAX_STEPS = 80
_MAX_PODS = 500


class InstanceSource:
    """The data of one running instance."""

    views = VIEWS
    commands: Mapping[str, str] = {
        "exchanges": "podpass trace",
        "refusals": "podpass doctor",
        "pods": "podpass drift --all-namespaces",
        "identities": "podpass identity list",
        "graph": "podpass graph",
        "audit": "podpass audit",
    }

    def __init__(
        self,
        data_dir: DataDir,
        config: InstanceConfig,
        directory: "Directory",
        kube: KubeClient,
        find_outdated: Callable[[], list[dict[str, Any]]],
    ) -> None:
        self.title = str(data_dir.root)
        self.timeline = Timeline()
        self._tenant_id = config.tenant_id
        self._origins = (config.direct_origin("authority"), config.url("authority"))
        self._directory = directory
        self._view = DirectoryView(directory, config.tenant_id)
        self._kube, self._find_outdated = kube, find_outdated
        end = end_position(data_dir.log_file)
        begin = LogPosition(end.file, max(end.offset - _HISTORY_BYTES, 0))
        self._log = InstanceLog(data_dir.log_file, data_dir.path("pods"), begin)
        self._has_whole_log = end.offset <= _HISTORY_BYTES
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the new lines of the logs; other parts of the instance run between two steps.

        A pod may print lines faster than they are read, so the number of steps is limited.
        """
        is_read_by_another = self._reading.locked()
        async with self._reading:
            if is_read_by_another:
                return
            for _ in range(_MAX_STEPS):
                for each in self._log.read():
                    self.timeline.add(each.hop)
                if self._log.is_end:
                    return
                await asyncio.sleep(0)

    async def revision(self, view: str) -> object:
        """Return what a view shows, or numbers that change with it. Raises KubeError, DatabaseFailed."""
        if view == "pods":
            return (await self.pods()).rows
        serial = await self._view.revision()
        if view != "graph":
            return serial
        from podpass.diagnose.graph.cluster_accounts import read_accounts

        return serial, len(self.timeline.credential_uses), await read_accounts(self._kube)

    async def pods(self) -> Listing:
        """List pods by namespace and name, and what admission did to each."""
        outdated = {(each["namespace"], each["name"]): each for each in self._find_outdated()}
        counts = self.timeline.count_exchanges()
        found: list[Mapping[str, Any]] = []
        async for page, _ in self._kube.pages("/api/v1/pods"):
            found += page
            if len(found) > _MAX_PODS:
                break
        rows = [
            pod_view.describe(
                pod,
                _describe_differences(outdated.get(_key(pod))),
                granted=counts["/".join(_key(pod)), HopResult.PASSED],
                refused=counts["/".join(_key(pod)), HopResult.REFUSED],
            )
            for pod in found[:_MAX_PODS]
        ]
        return Listing(rows=rows, more=len(found) > _MAX_PODS)

    async def identities(self) -> Listing:
        """List one page of identities with their credentials and roles."""
        return await self._view.identities()

    async def known_objects(self) -> KnownObjects:
        """Return identities by client ID and vaults by name."""
        return await self._view.known_objects()

    async def audit(self) -> Listing:
        """List the last changes, the newest first."""
        return await self._view.audit()

    async def graph(self) -> TrustGraphView:
        """Return the trust graph. Raises KubeError, DatabaseFailed, GraphTooLarge."""
        from podpass.console import graph_view
        from podpass.diagnose.graph.cluster_accounts import read_accounts
        from podpass.diagnose.graph.directory_snapshot import read_directory
        from podpass.diagnose.graph.model import TrustFacts

        facts = TrustFacts(
            cluster=await read_accounts(self._kube),
            directory=await read_directory(
                self._directory,
                self._tenant_id,
                origins=self._origins,
                # Without the beginning of the log, a credential without an exchange may have been used.
                exchanges=self.timeline.credential_uses if self._has_whole_log else None,
            ),
            expressions=self._directory.expressions,
        )
        return graph_view.describe(facts)


def _key(pod: Mapping[str, Any]) -> tuple[str, str]:
    metadata = pod.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _describe_differences(outdated: Mapping[str, Any] | None) -> Sequence[str]:
    if outdated is None:
        return ()
    return [
        f"{name}: {values['pod'] or '-'} → {values['service_account'] or '-'}"
        for name, values in sorted(outdated["differs"].items())
    ]
