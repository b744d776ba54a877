"""Compare the keys of the folder with what is published and with what API servers sign with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.assertion.publishing import documents, entra_rules, plan
from podpass.assertion.publishing.api_servers import ApiServerKeys
from podpass.assertion.publishing.config import IssuerConfig
from podpass.assertion.publishing.model import IssuerError, IssuerKey, IssuerState
from podpass.assertion.publishing.targets.target import PublishTarget, TargetError


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicDocuments:
    """The documents as a verifier reads them from the issuer's URL."""

    discovery: Mapping[str, Any]
    jwks: Mapping[str, Any]


def check_target(config: IssuerConfig, state: IssuerState, target: PublishTarget) -> list[str]:
    """Return the differences between the state and the target."""
    try:
        discovery, jwks = target.read(documents.DISCOVERY), target.read(documents.JWKS)
        if discovery is None or jwks is None:
            missing = documents.DISCOVERY if discovery is None else documents.JWKS
            return [f"{target.name} has no {missing}: run `podpass issuer publish`"]
        where = f"{documents.DISCOVERY} in {target.name}"
        problems = entra_rules.check_same_issuer(
            config.issuer, documents.issuer_of(discovery), where
        )
        problems += _compare_keys(state, documents.key_ids(jwks), target.name)
    except (IssuerError, TargetError) as exc:
        return [exc.message]
    return problems + entra_rules.check_size(documents.JWKS, jwks)


def check_public(config: IssuerConfig, state: IssuerState, public: PublicDocuments) -> list[str]:
    """Return the differences between the state and what verifiers read."""
    found = str(public.discovery.get("issuer", ""))
    problems = entra_rules.check_same_issuer(config.issuer, found, "the published document")
    entries = public.jwks.get("keys")
    kids = [str(entry.get("kid", "")) for entry in entries] if isinstance(entries, list) else []
    return problems + _compare_keys(state, kids, config.issuer)


def _compare_keys(state: IssuerState, kids: Sequence[str], where: str) -> list[str]:
    expected = list(state.published) or [key.kid for key in state.to_publish]
    problems = [
        f"{where} lacks the key {kid}: run `podpass issuer publish`"
        for kid in expected
        if kid not in kids
    ]
    known = {*(key.kid for key in state.keys), *state.former}
    problems += [
        f"{where} has the key {kid}, which this folder does not contain"
        for kid in kids
        if kid not in known
    ]
    problems += [
        f"{where} still has the withdrawn key {kid}: run `podpass issuer publish`"
        for kid in kids
        if kid in known and kid not in expected
    ]
    return problems


def check_api_server(
    config: IssuerConfig, state: IssuerState, keys: ApiServerKeys, now: float
) -> list[str]:
    """Return the differences between the state and an API server."""
    where = f"the API server {keys.server}"
    problems = entra_rules.check_same_issuer(config.issuer, keys.issuer, where)
    if problem := plan.remote_clock_problem(now, keys.time):
        problems.append(f"{where}: {problem}")
    if keys.signing not in state.published:
        problems.append(f"{where} signs with the key {keys.signing}, which is not published")
    elif state.active.confirmed is not None and keys.signing != state.active.kid:
        problems.append(
            f"{where} signs with the key {keys.signing}; the active key is {state.active.kid}"
        )
    problems += [
        f"{where} does not accept tokens of the key {key.kid}"
        for key in state.keys
        if key.loaded is not None and key.withdrawn is None and key.kid not in keys.accepted
    ]
    return problems


def name_state(state: IssuerState, key: IssuerKey) -> str:
    """Return how far a key is: upcoming, active, old or withdrawn."""
    if key.withdrawn is not None:
        return "withdrawn"
    if key.signs is None:
        return "upcoming"
    return "active" if key is state.active else "old"


def check_state(config: IssuerConfig, state: IssuerState) -> list[str]:
    """Return the problems of the settings and the keys themselves."""
    problems = entra_rules.check_issuer(config.issuer)
    return problems + entra_rules.check_keys(state.to_publish)
