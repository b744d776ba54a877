"""Exchanges with flexible federated credentials, whose expression the claims of a token must match."""

import json
import logging

import pytest

from podpass import names
from podpass.directory.errors import InvalidCredential
from podpass.directory.model import FederatedCredential
from tests.exchange.world import ISSUER, Start, World

EXPRESSION = "claims['sub'] matches 'system:serviceaccount:env-*:web'"


def flexible(expression: str = EXPRESSION) -> FederatedCredential:
    return FederatedCredential(
        name="flexible",
        issuer=ISSUER,
        subject="",
        audiences=(names.EXCHANGE_AUDIENCE,),
        expression=expression,
    )


def subject(namespace: str, name: str = "web") -> str:
    return f"system:serviceaccount:{namespace}:{name}"


@pytest.fixture
async def trusting(start: Start) -> World:
    """Start a service whose operator allows expressions for the cluster, with one such credential."""
    world = await start(flexible_kubernetes=(ISSUER,))
    await world.directory.identities.put_credential(world.TENANT, world.CLIENT, flexible())
    return world


async def test_every_namespace_of_the_pattern_gets_a_token_and_no_other(trusting: World) -> None:
    for namespace in ("env-1", "env-pull-7", "default"):
        token = trusting.mint(sub=subject(namespace))
        assert (await trusting.request_token(client_assertion=token)).status == 200, namespace
    for other in (subject("environment"), subject("env-1", "admin"), subject("x-env-1")):
        answer = await trusting.request_token(client_assertion=trusting.mint(sub=other))
        assert answer.code == 7002131, other


async def test_subject_with_the_text_of_an_expression_does_not_match_it(trusting: World) -> None:
    """The store keeps an expression in the column of subjects, which an index finds."""
    token = trusting.mint(sub=EXPRESSION)
    for _ in range(2):
        assert (await trusting.request_token(client_assertion=token)).code == 7002131
        trusting.directory._session.clear_caches()


async def test_forged_token_of_a_matching_subject_is_refused(trusting: World) -> None:
    token = trusting.mint(sub=subject("env-1"))
    forged = token[:-8] + ("A" * 8 if not token.endswith("A" * 8) else "B" * 8)
    assert (await trusting.request_token(client_assertion=forged)).code == 7000274


async def test_log_line_and_metadata_name_what_entra_does_not_have(
    trusting: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    await trusting.request_token(client_assertion=trusting.mint(sub=subject("env-1")))
    await trusting.request_token()
    lines = [vars(r) for r in caplog.records if r.getMessage() == "token_request_answered"]
    assert ["not_in_entra" in line for line in lines] == [True, False]
    path = f"/{trusting.TENANT}/v2.0/.well-known/openid-configuration"
    document = (await trusting.send(path, method="GET")).body
    assert document["podpass_extensions"] == ["flexible_kubernetes"]


async def test_log_has_the_clause_that_did_not_match_and_the_response_has_neither_it_nor_the_pattern(
    trusting: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller who knows the pattern of a credential knows which subjects it accepts."""
    caplog.set_level(logging.INFO, "podpass")
    answer = await trusting.request_token(client_assertion=trusting.mint(sub=subject("other")))
    assert answer.code == 7002131
    assert "env-" not in json.dumps(answer.body)
    [line] = [vars(r) for r in caplog.records if "clauses" in vars(r)]
    assert "env-*" in line["clauses"][0]
    assert line["claims"]["sub"] == subject("other")


async def test_metadata_names_that_wide_patterns_are_allowed(start: Start) -> None:
    world = await start(flexible_kubernetes=(ISSUER,), allow_wide=True)
    path = f"/{world.TENANT}/v2.0/.well-known/openid-configuration"
    document = (await world.send(path, method="GET")).body
    assert document["podpass_extensions"] == ["flexible_kubernetes", "allow_wide"]


async def test_service_without_the_option_refuses_the_expression(world: World) -> None:
    with pytest.raises(InvalidCredential, match="cannot be used with expressions"):
        await world.directory.identities.put_credential(world.TENANT, world.CLIENT, flexible())
    path = f"/{world.TENANT}/v2.0/.well-known/openid-configuration"
    assert "podpass_extensions" not in (await world.send(path, method="GET")).body


async def test_stored_expression_does_not_block_other_changes_when_the_option_is_removed(
    trusting: World,
) -> None:
    trusting.directory._session.expressions = type(trusting.directory._session.expressions)()
    await trusting.change(trusting.CLIENT, tags={"a": "b"})
    with pytest.raises(InvalidCredential):
        await trusting.directory.identities.put_credential(
            trusting.TENANT,
            trusting.CLIENT,
            flexible("claims['sub'] matches 'system:serviceaccount:new-*:web'"),
        )
