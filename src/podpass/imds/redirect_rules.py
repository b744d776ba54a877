"""The iptables rules that redirect a pod's IMDS requests to the sidecar. Pure.

    chain                  rules
    OUTPUT                 to the metadata service: jump to AZWI_PROXY_OUTPUT
    AZWI_PROXY_OUTPUT      the sidecar's own user: accept; others: jump to AZWI_PROXY_REDIRECT
    AZWI_PROXY_REDIRECT    TCP: redirect to the sidecar's port

The rules are those of azure-workload-identity, in the text form of `iptables -t nat -S`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OUTPUT, SIDECAR, REDIRECT = "OUTPUT", "AZWI_PROXY_OUTPUT", "AZWI_PROXY_REDIRECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """The redirected address and port, the port of the sidecar, and the exempt user."""

    metadata_ip: str
    metadata_port: int
    proxy_port: int
    proxy_uid: int

    @property
    def jump(self) -> str:
        """Return the rule of the chain OUTPUT."""
        destination = f"-d {self.metadata_ip}/32 -p tcp -m tcp --dport {self.metadata_port}"
        return f"-A {OUTPUT} {destination} -j {SIDECAR}"

    @property
    def chains(self) -> dict[str, list[str]]:
        """Return the rules of the sidecar's chains, in the order in which they are created."""
        return {
            REDIRECT: [f"-A {REDIRECT} -p tcp -j REDIRECT --to-ports {self.proxy_port}"],
            SIDECAR: [
                f"-A {SIDECAR} -m owner --uid-owner {self.proxy_uid} -j ACCEPT",
                f"-A {SIDECAR} -j {REDIRECT}",
            ],
        }


def plan_changes(current: Sequence[str], redirect: Redirect) -> list[str]:
    """Return the changes from the current rules to the redirection; empty if it is in effect.

    The jump is the last change: until then, nothing is redirected.
    """
    changes = [f"-N {chain}" for chain in redirect.chains if f"-N {chain}" not in current]
    jumps = _rules_of(OUTPUT, current, target=SIDECAR)
    # A rule of an earlier run with another address or port, or the second of two equal rules.
    surplus = list(jumps)
    if redirect.jump in surplus:
        surplus.remove(redirect.jump)
    changes += [f"-D{rule.removeprefix('-A')}" for rule in surplus]
    for chain, rules in redirect.chains.items():
        found = _rules_of(chain, current)
        if found == rules:
            continue
        changes += [f"-F {chain}"] if found else []
        changes += rules
    if redirect.jump not in jumps:
        changes.append(redirect.jump)
    return changes


def select_rules(current: Iterable[str]) -> list[str]:
    """Return the rules that belong to the redirection, for the log."""
    return [rule for rule in current if SIDECAR in rule or REDIRECT in rule]


def _rules_of(chain: str, current: Iterable[str], target: str = "") -> list[str]:
    return [
        rule
        for rule in current
        if rule.startswith(f"-A {chain} ") and (not target or rule.endswith(f" -j {target}"))
    ]
