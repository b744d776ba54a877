"""Log the authorities that clients asked the gateway for and did not reach, as hops of the exchange.

A client whose authority is not that of the instance sends no request to the token service, so only the
gateway knows which host it asked. `podpass trace` shows these lines. Other hosts that a client did not reach
have nothing to do with tokens: they are logged at the level debug.
"""

import logging
from collections import Counter

from podpass import log, names
from podpass.clock import Clock
from podpass.clouds import find_cloud
from podpass.http.limits import source_network

_log = logging.getLogger(__name__)

_PERIOD_SECONDS = 60.0
# All pods without their own network have this source address. `podpass doctor` assigns a log line to a pod by
# its time: a pod that is created again needs a newer line, otherwise doctor reports no problem.
_SHARED, _SHARED_SECONDS = "127.0.0.1", 5.0
# In each period, of authorities and of other hosts: for all addresses, and for one.
_MAX_HOSTS, _MAX_OF_SOURCE = 256, 16
_MAX_CHARS = 253
_FIX = (
    f"remove {names.ENV_AUTHORITY_HOST} from the container, so that the webhook sets it; programs that ignore"
    " it take their cloud from their own configuration: cert-manager from `environment` of the azureDNS"
    " solver, external-dns from `cloud` of azure.json, Loki from `environment` of its azure storage"
)


class RefusedHosts:
    """Logs each host of each source once in a period, and more often for the shared source.

    The number of lines in a period is limited.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Counted separately: the many other hosts of a program must not hide its authority.
        self._authorities, self._others = _SeenHosts(), _SeenHosts()
        self._start = self._end = 0.0

    def report_connected(self, host: str, port: int, source: str) -> None:
        """Log a host that a client reached if it is the token service of another cloud."""
        if find_cloud(host.lower().removesuffix(".")) is not None:
            self.report(host, port, source, "the gateway connected to it, outside the instance")

    def report(self, host: str, port: int, source: str, reason: str) -> None:
        """Log a host that a client did not reach."""
        now = self._clock()
        if now >= self._end:
            self._authorities, self._others = _SeenHosts(), _SeenHosts()
            self._start, self._end = now, now + _PERIOD_SECONDS
        name = host[:_MAX_CHARS].lower().removesuffix(".")
        cloud = find_cloud(name)
        seen = self._others if cloud is None else self._authorities
        # The lines of the shared source count towards the same limits.
        part = int((now - self._start) / _SHARED_SECONDS) if source == _SHARED else 0
        if not seen.add(source_network(source), name, part):
            return
        if cloud is None:
            facts = {"host": name, "port": port, "source": source, "cause": reason}
            _log.debug("host_not_reached", extra=facts)
            return
        log.hop(
            _log,
            log.AUTHORITY_NOT_SERVED,
            stage="exchange",
            asked=f"a connection to {name}:{port}",
            checked=(),
            seconds=0.0,
            level=logging.WARNING,
            outcome=log.AUTHORITY_NOT_SERVED,
            host=name,
            is_authority=True,
            source=source,
            cause=f"given {names.LOGIN_ALIASES[0]}, asked {name}, the authority of {cloud.name}: {reason}",
            fix=_FIX,
        )


class _SeenHosts:
    """The hosts of each source in one period, up to a limit."""

    def __init__(self) -> None:
        self._hosts: set[tuple[str, str, int]] = set()
        self._of_source: Counter[str] = Counter()

    def add(self, network: str, name: str, part: int) -> bool:
        """Return whether a host is new in this part of the period, and within the limits."""
        is_full = len(self._hosts) >= _MAX_HOSTS or self._of_source[network] >= _MAX_OF_SOURCE
        if is_full or (network, name, part) in self._hosts:
            return False
        self._hosts.add((network, name, part))
        self._of_source[network] += 1
        return True
