"""Publish the documents of an issuer: keys first, each file atomically, and read back what was written."""

from collections.abc import Sequence

from podpass.assertion.publishing import documents, plan
from podpass.assertion.publishing.model import IssuerError, IssuerKey, IssuerState
from podpass.assertion.publishing.targets.target import PublishTarget, TargetError
from podpass.clock import Clock


def publish(
    target: PublishTarget, issuer: str, state: IssuerState, clock: Clock, *, replace: bool = False
) -> None:
    """Make the target serve exactly the keys to publish; return when that has been read back.

    `replace` overwrites the documents of another issuer and keys that the state does not contain. Raises
    IssuerError, TargetError. The documents that verifiers read are complete after every error.
    """
    wanted = documents.build(issuer, state.to_publish)
    if not replace:
        _refuse_foreign_documents(target, issuer, state)
    # The discovery document names the keys, so they must exist before it. It never changes later.
    for path, body in ((documents.JWKS, wanted.jwks), (documents.DISCOVERY, wanted.discovery)):
        if target.read(path) == body:
            continue
        _check_clock(target, target.write(path, body), clock)
        if target.read(path) != body:
            raise TargetError(
                f"{path} in {target.name} is not what was written",
                hint="check for another program that publishes there, or a cache in front of the target",
            )


def _refuse_foreign_documents(target: PublishTarget, issuer: str, state: IssuerState) -> None:
    discovery = target.read(documents.DISCOVERY)
    if discovery is not None and (found := documents.issuer_of(discovery)) != issuer:
        raise IssuerError(
            f"{target.name} has the documents of the issuer {found!r}",
            hint="check the target; `podpass issuer publish --replace` overwrites what is there",
        )
    jwks = target.read(documents.JWKS)
    if jwks is None:
        return
    known = {*(key.kid for key in state.keys), *state.former}
    if unknown := sorted(set(documents.key_ids(jwks)) - known):
        raise IssuerError(
            f"{target.name} has a key that this folder does not contain: {unknown[0]}",
            hint="an API server may still sign with it. Check the folder and the target;"
            " `podpass issuer publish --replace` withdraws the key",
        )


def _check_clock(target: PublishTarget, remote: float | None, clock: Clock) -> None:
    if remote is None:
        return
    if problem := plan.remote_clock_problem(clock(), remote):
        raise IssuerError(
            f"{problem} from that of {target.name}",
            hint="correct the clock of this machine, then run the command again",
        )


def missing_keys(target: PublishTarget, keys: Sequence[IssuerKey]) -> list[str]:
    """Return the key IDs that must be published and are not. Raises IssuerError, TargetError."""
    jwks = target.read(documents.JWKS)
    found = set() if jwks is None else set(documents.key_ids(jwks))
    return [key.kid for key in keys if key.kid not in found]
