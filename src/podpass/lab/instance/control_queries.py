"""Queries of the control API of a local instance: those of its cloud half, and its status."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from podpass import names
from podpass.clock import Clock
from podpass.lab.cluster.pod_access import PodAccess
from podpass.lab.data.datadir import DataDir, InstanceConfig
from podpass.lab.instance.queries import CloudQueries
from podpass.settings import LocalSettings

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory
    from podpass.resource.store import SecretStore


class InstanceQueries(CloudQueries):
    """Handles the requests of the control API for a running instance."""

    def __init__(
        self,
        data_dir: DataDir,
        config: InstanceConfig,
        directory: "Directory",
        secret_store: "SecretStore",
        *,
        settings: LocalSettings,
        pids: Callable[[], Mapping[str, int]],
        pods: PodAccess,
        clock: Clock,
    ) -> None:
        super().__init__(
            data_dir, config, directory, secret_store, issuer=config.issuer, clock=clock
        )
        self._settings, self._pids = settings, pids
        self._pods = pods

    def status(self) -> dict[str, Any]:
        """Return the status document of `podpass status -o json`."""
        return {
            "ready": True,
            "data_dir": str(self._data_dir.root),
            "kubernetes": {
                "server": self._config.url("kubernetes"),
                "kubeconfig": str(self._data_dir.kubeconfig),
                "issuer": self._config.issuer,
                "kind": self._settings.kubernetes,
                "webhook": ""
                if self._settings.no_webhook
                else self._config.url("webhook") + names.WEBHOOK_PATH,
            },
            **self.addresses(),
            "console": self._config.console,
            **self._pods.status(),
            "settings": self._settings.by_flag(),
            "pids": dict(self._pids()),
        }
