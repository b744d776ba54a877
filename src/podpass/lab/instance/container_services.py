"""What the cloud half serves to containers without a cluster: a resolver, the CA, and managed identities."""

import logging
import socket
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from podpass.clock import Clock
from podpass.crypto.secret import Secret
from podpass.directory import resource_ids
from podpass.http.server import serving
from podpass.lab.data.datadir import InstanceConfig
from podpass.lab.instance import managed_identity
from podpass.lab.instance.parts import CloudParts
from podpass.lab.names.resolver import CloudResolver, Upstream, run_resolver
from podpass.lab.names.trust_folder import read_public_roots, write_folder
from podpass.servers.file_limits import shared_limits
from podpass.settings import CloudSettings

_log = logging.getLogger(__name__)

_RESOLV_CONF = Path("/etc/resolv.conf")
_DNS_PORT = 53


class ContainerServices:
    """The services of one cloud for the containers next to it.

    `opened` are the listening sockets for other hosts; `headers` maps the name of an identity to its secret
    header of App Service's protocol.
    """

    def __init__(
        self,
        settings: CloudSettings,
        opened: Mapping[str, socket.socket],
        headers: Mapping[str, Secret],
        clock: Clock,
    ) -> None:
        self._settings, self._opened = settings, opened
        self._headers, self._clock = headers, clock

    def write_trust(self, ca_file: Path) -> None:
        """Write the CA into the folder of `--trust-dir`.

        Raises BadBundle, NoPublicRoots, TrustFolderRefused.
        """
        if self._settings.trust_dir:
            folder = Path(self._settings.trust_dir)
            write_folder(folder, read_public_roots(), ca_file.read_bytes())
            _log.info("trust_written", extra={"folder": str(folder)})

    async def serve_identities(
        self, stack: AsyncExitStack, parts: CloudParts, config: InstanceConfig
    ) -> None:
        """Serve the managed identity endpoint, if it has an address.

        A name in the settings is that of an identity in the seed's resource group, never in another group.
        """
        if "managed_identity" not in self._opened:
            return
        from podpass.seed.apply import GROUP

        find_id = partial(resource_ids.identity_id, config.subscription_id, GROUP)
        app = managed_identity.create_app(
            parts.directory,
            parts.managed_identity_tokens,
            config.tenant_id,
            self._clock,
            assigned=[find_id(name) for name in self._settings.assigned_identities],
            headers={find_id(name): value for name, value in self._headers.items()},
            hosts=self._settings.identity_hosts,
        )
        await stack.enter_async_context(
            serving(app, self._opened["managed_identity"], limits=shared_limits())
        )

    async def serve_resolver(
        self, stack: AsyncExitStack, served: Collection[str], parts: CloudParts
    ) -> None:
        """Serve the resolver, if it has an address and there is no cluster, which has its own."""
        if self._settings.service or "dns_udp" not in self._opened:
            return
        upstream = self._settings.find_upstream() or find_system_upstream()
        if upstream is None:
            _log.warning("dns_upstream_missing", extra={"file": str(_RESOLV_CONF)})
        resolver = CloudResolver(
            served,
            self._settings.find_addresses(),
            host_exists=parts.has_host,
            look_up=parts.directory.dns_zones.look_up,
            upstream=upstream,
        )
        udp, tcp = self._opened["dns_udp"], self._opened["dns_tcp"]
        await stack.enter_async_context(run_resolver(resolver, udp, tcp))


def find_system_upstream(path: Path = _RESOLV_CONF) -> Upstream | None:
    """Return the first DNS server that this machine uses, None without one."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            return words[1], _DNS_PORT
    return None
