"""How much one client and one address may ask: a decision over a clock and a few numbers, no I/O.

    a client id    so many tokens a second, over all addresses; only tokens count, or anyone could use up
                   what belongs to another
    an address     so many requests a second, whatever it asks; of IPv6, a /64 counts as one
    a flood        an address that sends nothing but refused requests, or connects and asks nothing, is not
                   even listened to for a while, on connections that it kept neither; one that has lately
                   had a token may send ten times as many of them, since behind it may be a whole cluster
    device codes   so many for one address: anybody may begin one, and no more than so many can wait

Each process decides for itself: with N workers, each is given an N-th of what the settings say. What is
remembered is bounded; what was not seen for longest is forgotten, as if it had never asked.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from podpass.clock import Clock

MAX_KEPT = 65_536
GOOD_SECONDS = 600.0
# Not without end: whoever holds one valid credential would be free to flood.
GOOD_TIMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many a second on average, so many at once.

    Shapes:  `per_second` 0 is no limit.
    """

    per_second: float
    burst: float

    def times(self, factor: float) -> "Rate":
        return Rate(per_second=self.per_second * factor, burst=self.burst * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one process lets pass.

    Shapes:  `devices` are device codes of one address.
    Units:   `penalty_seconds` for which an address is dropped whose `refused` requests are too many, 0 for
             never; `connections` of one address at a time, 0 for no limit.
    """

    client: Rate
    source: Rate
    refused: Rate
    penalty_seconds: float
    devices: Rate = Rate(per_second=0, burst=1)
    connections: int = 0


class Gate:
    """Decide who may go on. The clock must not go backwards."""

    def __init__(
        self, rules: Rules, clock: Clock, *, penalised: Callable[[str], None] | None = None
    ) -> None:
        self._clock = clock
        self._clients = _Buckets(rules.client)
        self._sources = _Buckets(rules.source)
        self._refused = _Buckets(rules.refused)
        self._refused_of_good = _Buckets(rules.refused.times(GOOD_TIMES))
        self._devices = _Buckets(rules.devices)
        self._good = _Recent()
        self._out = _Recent()
        self._penalty_seconds = rules.penalty_seconds
        self._penalised = penalised
        self._connections: dict[str, int] = {}
        self._most = rules.connections

    def accepts(self, source: str) -> bool:
        """Tell whether an address's connection is worth a handshake."""
        network = _network(source)
        if self._most and self._connections.get(network, 0) >= self._most:
            return False
        return self._clock() >= self._out.get(network)

    def hears(self, source: str) -> bool:
        """Tell whether another request of a connection that was accepted is worth reading."""
        # Nearly always nobody is out, and this is asked for every request.
        return self._out.is_empty or self._clock() >= self._out.get(_network(source))

    def opened(self, source: str) -> None:
        """Count a connection that was accepted."""
        network = _network(source)
        self._connections[network] = self._connections.get(network, 0) + 1

    def closed(self, source: str) -> None:
        """Count one that ended."""
        network = _network(source)
        left = self._connections.get(network, 0) - 1
        if left > 0:
            self._connections[network] = left
        else:
            self._connections.pop(network, None)

    def admit(self, source: str, client_id: str) -> float | None:
        """Let a request go on, or give the seconds after which it may be tried again.

        Shapes:  `client_id` as the caller wrote it, with its tenant; empty where none counts.
        """
        now, network = self._clock(), _network(source)
        # Who is out comes here by a proxy alone: that goes on being listened to.
        wait = max(
            self._out.get(network) - now,
            self._sources.wait(network, now),
            self._clients.wait(client, now) if (client := client_id.lower()) else 0.0,
        )
        if wait > 0:
            return wait
        self._sources.take(network, now)
        return None

    def granted(self, source: str, client_id: str) -> None:
        """Count a token; its address is no mere flood from then on, whoever else is behind it."""
        now, network = self._clock(), _network(source)
        if client_id:
            self._clients.take(client_id.lower(), now)
        if self._good.get(network) - now < GOOD_SECONDS / 2:
            self._good.put(network, now + GOOD_SECONDS)
            self._out.drop(network)

    def begins_device(self, source: str) -> float | None:
        """Let an address have one more device code, or give the seconds after which it may."""
        now, network = self._clock(), _network(source)
        wait = self._devices.wait(network, now)
        if wait > 0:
            return wait
        self._devices.take(network, now)
        return None

    def refused(self, source: str) -> None:
        """Count a refused request, or a connection on which nothing was asked, against its address."""
        now, network = self._clock(), _network(source)
        allowed = self._refused_of_good if self._good.get(network) > now else self._refused
        if allowed.wait(network, now) <= 0:
            allowed.take(network, now)
        elif self._penalty_seconds and now >= self._out.get(network):
            self._out.put(network, now + self._penalty_seconds)
            if self._penalised is not None:
                self._penalised(network)


def _network(source: str) -> str:
    # Who has one address of IPv6 has the 18446744073709551616 beside it.
    return _prefix(source) if ":" in source else source


@lru_cache(maxsize=4096)
def _prefix(source: str) -> str:
    try:
        address = ipaddress.IPv6Address(source.partition("%")[0])
    except ValueError:
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


class _Recent:
    """Times by name; over the bound, the one that was put longest ago goes."""

    def __init__(self) -> None:
        self._kept: dict[str, float] = {}

    @property
    def is_empty(self) -> bool:
        return not self._kept

    def get(self, name: str, default: float = float("-inf")) -> float:
        return self._kept.get(name, default)

    def put(self, name: str, when: float) -> None:
        self._kept.pop(name, None)
        self._kept[name] = when
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def drop(self, name: str) -> None:
        self._kept.pop(name, None)


class _Buckets:
    """Token buckets, each one number: the moment at which it would be full again."""

    def __init__(self, rate: Rate) -> None:
        self._each = 1 / rate.per_second if rate.per_second > 0 else 0.0
        self._depth = max(rate.burst, 1) * self._each
        self._full = _Recent()

    def wait(self, name: str, now: float) -> float:
        """Give the seconds until the bucket holds one; 0 when it does."""
        if not self._each:
            return 0.0
        # Rounding must not refuse the last one of a burst.
        wait = self._full.get(name, now) + self._each - self._depth - now
        return wait if wait > 1e-9 else 0.0

    def take(self, name: str, now: float) -> None:
        """Take one out."""
        if self._each:
            self._full.put(name, max(self._full.get(name, now), now) + self._each)
