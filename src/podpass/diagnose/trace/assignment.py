"""Assign each hop to the pod whose token it is about. Pure; the state has a bounded size.

A hop of the account, the admission and the assertion names its pod. The exchange logs the fingerprint of the
assertion that it received, which the assertion's hop has, too; the resource logs the `uti` of the access
token, which the exchange logged; the migration sidecar's log is that of its pod. Where no such value is
known, the subject names the ServiceAccount.

A pod writes the log of its own sidecar, so it can write any line there. A hop of the sidecar is confirmed if
the token service logged an exchange of the same ServiceAccount with the same correlation ID and result.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from podpass.diagnose.trace.hop import CONFIRMED, PROJECTED, Hop, HopResult
from podpass.kubernetes.service_account.names import USERNAME_PREFIX
from podpass.log import AUTHORITY_NOT_SERVED

_REMEMBERED = 20_000
# Resource Manager and Graph log the stage `directory`.
_RESOURCES = ("resource", "directory")
GENERATED = " (prefix)"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOwner:
    """The pod of a hop; `pod` and `uid` are empty if only the ServiceAccount is known, all if nothing is.

    `is_prefix` if `pod` is the beginning of a generated name, as admission has it. `is_unissued` if only the
    subject of the token names the ServiceAccount: the log does not show which pod got this token, so any
    pod of the ServiceAccount may have sent it.
    """

    namespace: str = ""
    pod: str = ""
    account: str = ""
    uid: str = ""
    is_prefix: bool = False
    is_unissued: bool = False

    def is_pod(self, name: str) -> bool:
        """Return whether this is, or may be, the pod of this name."""
        return name == self.pod or (self.is_prefix and name.startswith(self.pod))


@dataclass(frozen=True, slots=True)
class AssignedHop:
    """A hop and its pod."""

    workload: TokenOwner
    hop: Hop

    def to_json(self) -> dict[str, Any]:
        """Return pod, ServiceAccount and hop as one JSON object; `id` continues the log after this hop."""
        pod = {
            "namespace": self.workload.namespace,
            "pod": self.workload.pod,
            "account": self.workload.account,
            "uid": self.workload.uid,
        }
        return {"id": self.hop.position, **pod, **self.hop.to_json()}


class HopAssigner:
    """Finds the pod of each hop; call `assign` with all hops of a log in their order."""

    def __init__(self) -> None:
        self._assertions: _Recent[TokenOwner] = _Recent()
        self._tokens: _Recent[TokenOwner] = _Recent()
        self._signed: _Recent[str] = _Recent()
        self._pods: _Recent[TokenOwner] = _Recent()
        self._exchanges: _Recent[HopResult] = _Recent()
        self._authorities: _Recent[TokenOwner] = _Recent()

    def assign_all(self, hops: Iterable[Hop]) -> Iterator[AssignedHop]:
        """Assign each hop; leave out those that repeat another hop."""
        for hop in hops:
            if (assigned := self.assign(hop)) is not None:
                yield assigned

    def assign(self, hop: Hop) -> AssignedHop | None:
        """Return a hop with its pod, or None for a hop that repeats the one before.

        An own API server and the kubelet both log the tokens of pods; a real API server logs none.
        """
        workload = self._find(hop)
        if hop.event == AUTHORITY_NOT_SERVED and not workload.account:
            # Any other host that the gateway did not reach has nothing to do with tokens.
            return AssignedHop(workload, hop) if hop.facts.get("is_authority") is True else None
        if hop.stage == "exchange" and workload.account and hop.correlation_id:
            self._exchanges.put(_exchange_key(hop, workload), hop.result)
        if hop.stage == "imds":
            is_confirmed = self._exchanges.get(_exchange_key(hop, workload)) is hop.result
            about = {
                "namespace": workload.namespace,
                "account": workload.account,
                "pod": workload.pod,
            }
            hop = replace(hop, facts={**hop.facts, **about, CONFIRMED: is_confirmed})
        if hop.stage == "assertion":
            key = "/".join((workload.namespace, workload.pod, hop.fact("audience")))
            if hop.outcome == PROJECTED or hop.event == "token_projection_refused":
                if self._signed.get(key) == str(hop.result):
                    return None
            else:
                self._signed.put(key, str(hop.result))
        return AssignedHop(workload, hop)

    def _find(self, hop: Hop) -> TokenOwner:
        fingerprint, uti = hop.fact("token_sha256"), hop.fact("uti")
        if hop.event == AUTHORITY_NOT_SERVED:
            return self._authorities.get(hop.fact("host")) or TokenOwner()
        if hop.stage in ("account", "admission", "assertion"):
            workload = _named(hop.facts)
            for host in () if hop.is_dry_run else _list_hosts(hop.facts.get("authorities")):
                # The gateway knows only an address: which of several pods has asked is unknown.
                is_one = self._authorities.get(host) in (None, workload)
                self._authorities.put(host, workload if is_one else TokenOwner())
            if hop.stage == "assertion" and fingerprint:
                self._assertions.put(fingerprint, workload)
            if workload.uid:
                self._pods.put(workload.uid, workload)
            return workload
        if hop.stage == "imds":
            uid = hop.fact("uid")
            return self._pods.get(uid) or TokenOwner(uid=uid)
        if hop.stage in _RESOURCES:
            return self._tokens.get(uti) or TokenOwner()
        workload = self._assertions.get(fingerprint) or _account_of(hop.fact("sub"))
        if uti and hop.result is HopResult.PASSED:
            self._tokens.put(uti, workload)
        return workload


def _exchange_key(hop: Hop, workload: TokenOwner) -> str:
    return f"{workload.namespace}/{workload.account}/{hop.correlation_id}"


class _Recent(Generic[Value]):
    """A mapping with a limited number of entries, of which the oldest are removed."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str) -> Value | None:
        return self._values.get(key)

    def put(self, key: str, value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > _REMEMBERED:
            self._values.popitem(last=False)


def _named(facts: Mapping[str, Any]) -> TokenOwner:
    values = {name: str(facts.get(name) or "") for name in ("namespace", "pod", "account", "uid")}
    return TokenOwner(
        namespace=values["namespace"],
        pod=values["pod"].removesuffix(GENERATED),
        account=values["account"],
        uid=values["uid"],
        is_prefix=values["pod"].endswith(GENERATED),
    )


def _list_hosts(authorities: object) -> list[str]:
    """Return the hosts of the token services that containers ask instead of the webhook's."""
    found = authorities if isinstance(authorities, list) else []
    urls = [str(each.get("asked")) for each in found if isinstance(each, dict)]
    return [re.split("[:/]", url.partition("://")[2].lower())[0] for url in urls]


def _account_of(subject: str) -> TokenOwner:
    namespace, _, account = subject.removeprefix(USERNAME_PREFIX).partition(":")
    if not subject.startswith(USERNAME_PREFIX) or not account:
        return TokenOwner()
    return TokenOwner(namespace=namespace, account=account, is_unissued=True)
