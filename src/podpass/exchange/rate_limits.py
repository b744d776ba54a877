"""Rate limits for clients and addresses. Pure: a clock and a few numbers, no I/O.

    client ID      tokens per second, over all addresses; only issued tokens count, so that a caller without a
                   credential cannot use up another client's limit
    address        requests per second of any kind; an IPv6 /64 counts as one address
    rejections     an address that sends only refused requests, or opens connections without a request, is
                   blocked for a while, on its open connections too; an address that received a token
                   recently may have ten times as many, because a whole cluster may be behind it
    device codes   device codes per address, because no credential is needed for one

Each process decides independently: with N workers, each gets one N-th of the configured limits. Memory is
bounded: the least recently used address is evicted, and its limits are reset.
"""

from collections.abc import Callable
from dataclasses import dataclass

from podpass.clock import Clock
from podpass.http.limits import source_network

MAX_ENTRIES = 65_536
TRUSTED_SECONDS = 600.0
# Refused requests of a trusted address are limited too: otherwise one valid credential would permit a flood.
TRUSTED_FACTOR = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The parameters of a token bucket: an average rate and a burst.

    `per_second` 0 means no limit.
    """

    per_second: float
    burst: float

    def scaled(self, factor: float) -> "Rate":
        """Return the rate multiplied by a factor."""
        return Rate(per_second=self.per_second * factor, burst=self.burst * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The limits of one process.

    `devices` limits the device codes of one address; `penalty_seconds` is how long an address that exceeds
    `refused` is blocked; 0 disables this.
    """

    client: Rate
    source: Rate
    refused: Rate
    penalty_seconds: float
    devices: Rate = Rate(per_second=0, burst=1)


class RateLimiter:
    """Decide which connections and requests are allowed. The clock must be monotonic."""

    def __init__(
        self, rules: RateLimits, clock: Clock, *, on_block: Callable[[str], None] | None = None
    ) -> None:
        self._clock = clock
        self._clients = _Buckets(rules.client)
        self._sources = _Buckets(rules.source)
        self._rejections = _Buckets(rules.refused)
        self._trusted_rejections = _Buckets(rules.refused.scaled(TRUSTED_FACTOR))
        self._devices = _Buckets(rules.devices)
        self._trusted = _RecentTimes()
        self._blocked = _RecentTimes()
        self._penalty_seconds = rules.penalty_seconds
        self._on_block = on_block

    def allow_connection(self, source: str) -> bool:
        """Return whether a new connection of an address is accepted, before the TLS handshake."""
        return self._clock() >= self._blocked.get(source_network(source))

    def allow_request(self, source: str) -> bool:
        """Return whether another request on an open connection is read."""
        # Called for every request; usually no address is blocked.
        return self._blocked.is_empty or self._clock() >= self._blocked.get(source_network(source))

    def acquire(self, source: str, client_id: str) -> float | None:
        """Allow a request and return None, or return the seconds until it is allowed.

        `client_id` is as the caller wrote it, with its tenant; empty if no client limit applies.
        """
        now, network = self._clock(), source_network(source)
        # A blocked address reaches this check only through a trusted proxy, whose connections are not
        # blocked.
        wait = max(
            self._blocked.get(network) - now,
            self._sources.wait(network, now),
            self._clients.wait(client, now) if (client := client_id.lower()) else 0.0,
        )
        if wait > 0:
            return wait
        self._sources.take(network, now)
        return None

    def on_success(self, source: str, client_id: str) -> None:
        """Count an issued token, and mark its address as trusted."""
        now, network = self._clock(), source_network(source)
        if client_id:
            self._clients.take(client_id.lower(), now)
        if self._trusted.get(network) - now < TRUSTED_SECONDS / 2:
            self._trusted.put(network, now + TRUSTED_SECONDS)
            self._blocked.remove(network)

    def on_extra_work(self, source: str, requests: int) -> None:
        """Count a request as several against its address limit, because it needed more work."""
        self._sources.take(source_network(source), self._clock(), requests)

    def acquire_device_code(self, source: str) -> float | None:
        """Allow one more device code and return None, or return the seconds until it is allowed."""
        now, network = self._clock(), source_network(source)
        wait = self._devices.wait(network, now)
        if wait > 0:
            return wait
        self._devices.take(network, now)
        return None

    def on_rejection(self, source: str) -> None:
        """Count a refused request, or a connection without a request, against its address."""
        now, network = self._clock(), source_network(source)
        is_trusted = self._trusted.get(network) > now
        allowed = self._trusted_rejections if is_trusted else self._rejections
        if allowed.wait(network, now) <= 0:
            allowed.take(network, now)
        elif self._penalty_seconds and now >= self._blocked.get(network):
            self._blocked.put(network, now + self._penalty_seconds)
            if self._on_block is not None:
                self._on_block(network)


class _RecentTimes:
    """A bounded map from name to time; the least recently written entry is evicted."""

    def __init__(self) -> None:
        self._entries: dict[str, float] = {}

    @property
    def is_empty(self) -> bool:
        return not self._entries

    def get(self, name: str, default: float = float("-inf")) -> float:
        return self._entries.get(name, default)

    def put(self, name: str, when: float) -> None:
        self._entries.pop(name, None)
        self._entries[name] = when
        if len(self._entries) > MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]

    def remove(self, name: str) -> None:
        self._entries.pop(name, None)


class _Buckets:
    """Token buckets by name, each stored as one number: the time at which it is full again."""

    def __init__(self, rate: Rate) -> None:
        self._each = 1 / rate.per_second if rate.per_second > 0 else 0.0
        self._depth = max(rate.burst, 1) * self._each
        self._full = _RecentTimes()

    def wait(self, name: str, now: float) -> float:
        """Return the seconds until the bucket has a token; 0 if it has one."""
        if not self._each:
            return 0.0
        # A rounding error must not refuse the last request of a burst.
        wait = self._full.get(name, now) + self._each - self._depth - now
        return wait if wait > 1e-9 else 0.0

    def take(self, name: str, now: float, count: int = 1) -> None:
        """Take tokens; the balance of the bucket may become negative."""
        if self._each:
            self._full.put(name, max(self._full.get(name, now), now) + count * self._each)
