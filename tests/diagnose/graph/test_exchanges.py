"""The edges of the trust graph equal exchanges and accesses, tried one by one in random directories."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from podpass import names
from podpass.diagnose.graph.directory_snapshot import read_directory
from podpass.diagnose.graph.edges import OPERATIONS, can_sign_in, find_access, find_matches
from podpass.diagnose.graph.graph import build_graph
from podpass.diagnose.graph.model import AccountFacts, EdgeKind, TrustFacts
from podpass.directory.model import Identity
from tests.diagnose.graph import random_directory
from tests.diagnose.graph.random_directory import ACCOUNTS, AUDIENCES, RandomDirectory, assertion_of

SEEDS = range(8)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=SEEDS, ids=lambda seed: f"seed-{seed}"
)
async def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RandomDirectory]:
    made = await random_directory.make(request.param, tmp_path_factory.mktemp("directory"))
    yield made
    await made.directory.close()


async def facts_of(made: RandomDirectory) -> TrustFacts:
    directory = await read_directory(made.directory, random_directory.TENANT)
    return TrustFacts(cluster=made.cluster, directory=directory)


async def test_edges_equal_exchanges_tried_one_by_one(made: RandomDirectory) -> None:
    facts = await facts_of(made)
    matches = list(find_matches(facts))
    graph = build_graph(facts)
    injected = {
        (edge.source.removeprefix("account/"), edge.target.split("/")[1])
        for edge in graph.edges
        if edge.kind is EdgeKind.MATCHES and edge.details["injected_token"]
    }
    usable = {node.details["client_id"] for node in graph.nodes if node.details.get("can_sign_in")}
    for account in ACCOUNTS:
        by_webhook = assertion_of(account, names.EXCHANGE_AUDIENCE)
        expected = await made.become_directly(by_webhook)
        assert {
            client for key, client in injected if key == account.key and client in usable
        } == expected
        assert {
            each.identity.client_id
            for each in matches
            if each.owner == account and can_sign_in(each.identity)
        } == await _become_by_exchanges(made, account)


async def _become_by_exchanges(made: RandomDirectory, account: AccountFacts) -> set[str]:
    """Return the identities that any token of an account leads to; a second step is tried, and refused."""
    waiting = [assertion_of(account, audience) for audience in AUDIENCES]
    found: set[str] = set()
    used: set[str] = set()
    while waiting:
        assertion = waiting.pop()
        found |= await made.become_directly(assertion)
        tokens = await made.tokens_of(assertion)
        waiting += [token for client, token in tokens.items() if client not in used]
        used |= set(tokens)
    return found


async def test_access_equals_operations_tried_one_by_one(made: RandomDirectory) -> None:
    facts = await facts_of(made)
    computed = {
        (access.identity.client_id, access.resource.name, operation, secret)
        for access in find_access(facts, facts.directory.identities)
        for operation in access.operations
        for secret in random_directory.SECRETS
        if access.part in ("", f"secrets/{secret}")
    }
    tried = {
        (identity.client_id, vault.name, operation, secret)
        for identity in made.identities
        if identity.has_principal
        for vault in made.vaults
        for operation in OPERATIONS
        for secret in random_directory.SECRETS
        if await made.may(identity, vault, operation, secret)
    }
    assert computed == tried


async def test_edges_of_managed_identities_equal_exchanges_of_their_tokens(
    made: RandomDirectory,
) -> None:
    facts = await facts_of(made)
    expected = {
        (match.owner.client_id, match.identity.client_id)
        for match in find_matches(facts)
        if isinstance(match.owner, Identity) and can_sign_in(match.identity)
    }
    accepted = set()
    for identity in made.identities:
        token = await made.earlier_token(identity)
        accepted |= {(identity.client_id, each) for each in await made.become_directly(token)}
    assert accepted == expected


async def test_random_directories_have_every_kind_of_edge() -> None:
    kinds: set[EdgeKind] = set()
    chains = parts = 0
    for seed in SEEDS:
        graph = build_graph(random_directory.generate(seed).facts)
        kinds |= {edge.kind for edge in graph.edges}
        chains += sum(
            edge.source.startswith("identity/") and edge.kind is EdgeKind.MATCHES
            for edge in graph.edges
        )
        parts += sum(bool(edge.details.get("part")) for edge in graph.edges)
    assert kinds == set(EdgeKind) - {EdgeKind.ANNOTATES}
    assert chains > 0
    assert parts > 0
