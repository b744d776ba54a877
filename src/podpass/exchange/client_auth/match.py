"""Finds the federated credential that matches an assertion. Pure.

The assertion is not verified yet: the match only decides which issuer's keys are fetched.
"""

from collections.abc import Sequence

from podpass.directory.claims_expression import (
    NO_KUBERNETES,
    Clause,
    KubernetesIssuers,
    usable_clauses,
)
from podpass.directory.model import FederatedCredential, Identity
from podpass.exchange.client_auth.assertion import UnverifiedAssertion
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError, sanitize

_MAX_LOGGED = 5  # differences; an identity can have 20 expressions with several clauses each


def match(
    assertion: UnverifiedAssertion,
    identity: Identity,
    *,
    other_audience: int = numbers.AUDIENCE_MISMATCH,
    kubernetes: KubernetesIssuers = NO_KUBERNETES,
) -> FederatedCredential:
    """Find the credential with the issuer, audience and subject of an assertion, compared in this order.

    Values are compared exactly, without normalization or wildcards; only the expression of a flexible
    credential has wildcards. It is compared if no subject is equal.

    `other_audience` is the error for an audience that no credential of the issuer has. Raises AadstsError
    70025, 700211, 700212, 7002138, 700213, 7002131.
    """
    if not identity.credentials:
        raise AadstsError(numbers.NO_CREDENTIALS, client=identity.client_id, name=identity.name)
    of_issuer = [each for each in identity.credentials if each.issuer == assertion.issuer]
    if not of_issuer:
        raise AadstsError(numbers.ISSUER_MISMATCH, issuer=assertion.issuer)
    of_audience = [
        each for each in of_issuer if not set(each.audiences).isdisjoint(assertion.audiences)
    ]
    if not of_audience:
        raise AadstsError(other_audience, audience=", ".join(assertion.audiences))
    for each in of_audience:
        # The subject of a flexible credential is empty, and no token has an empty subject.
        if each.subject == assertion.subject:
            return each
    claims = assertion.token.claims
    compared: list[tuple[FederatedCredential, Sequence[Clause]]] = []
    for each in of_audience:
        if each.expression and (
            clauses := usable_clauses(each.issuer, each.expression, kubernetes)
        ):
            if all(clause.holds(claims) for clause in clauses):
                return each
            compared.append((each, clauses))
    if compared:
        raise _expression_mismatch(assertion, compared)
    lower = assertion.subject.lower()
    if any(each.subject.lower() == lower for each in of_audience):
        raise AadstsError(numbers.SUBJECT_CASE_MISMATCH, subject=assertion.subject)
    raise AadstsError(numbers.SUBJECT_MISMATCH, subject=assertion.subject)


def _expression_mismatch(
    assertion: UnverifiedAssertion, compared: Sequence[tuple[FederatedCredential, Sequence[Clause]]]
) -> AadstsError:
    """Return the error with the claims that differ. Any caller gets it, so only the log has the clauses.

    The log also has the claims that are equal: `podpass explain` compares every clause with it.
    """
    claims = assertion.token.claims
    failing = [
        (credential, clause)
        for credential, clauses in compared
        for clause in clauses
        if not clause.holds(claims)
    ]
    names = {clause.claim for _, clauses in compared for clause in clauses}
    logged = {
        one: sanitize(claims[one]) for one in sorted(names) if isinstance(claims.get(one), str)
    }
    described = [
        sanitize(f"{credential.name}: {clause.describe_difference(claims)}")
        for credential, clause in failing[:_MAX_LOGGED]
    ]
    return AadstsError(
        numbers.EXPRESSION_MISMATCH,
        subject=assertion.subject,
        presented=", ".join(
            f"{one}={sanitize(claims.get(one, '(missing)'))}"
            for one in sorted({clause.claim for _, clause in failing})
        ),
    ).with_record(claims=logged, clauses=described)
