"""The query of a token request."""

import pytest

from podpass.imds.token_query import BadTokenQuery, TokenQuery, parse_token_query

CLIENT = "22222222-aaaa-4bbb-8ccc-000000000001"
OWN = "33333333-aaaa-4bbb-8ccc-000000000001"
VAULT = "https://vault.azure.net"


@pytest.mark.parametrize(
    ("query", "client_id", "resource"),
    [
        (f"api-version=2018-02-01&resource={VAULT}&client_id={CLIENT}", CLIENT, VAULT),
        (f"resource={VAULT}", OWN, VAULT),
        (f"resource={VAULT}&client_id=", OWN, VAULT),
        ("resource=https%3A%2F%2Fvault.azure.net%2F", OWN, f"{VAULT}/"),
        (f"resource={VAULT}&resource=https://other&client_id={CLIENT}&client_id=x", CLIENT, VAULT),
        (f"resource={VAULT}&client_id={CLIENT}&object_id=x", CLIENT, VAULT),
        (f"resource={VAULT}&bypass_cache=true&authority=x", OWN, VAULT),
        (f"resource={VAULT}&client_id={CLIENT.upper()}", CLIENT.upper(), VAULT),
        (f"resource={VAULT}&client_id={CLIENT};&x=%zz&%", OWN, VAULT),
    ],
)
def test_first_value_is_used_and_client_id_defaults_to_that_of_the_pod(
    query: str, client_id: str, resource: str
) -> None:
    assert parse_token_query(query, OWN) == TokenQuery(client_id, resource)


@pytest.mark.parametrize(
    ("query", "own", "message"),
    [
        (
            "api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net%2F",
            "",
            "The client_id parameter or AZURE_CLIENT_ID environment variable must be set",
        ),
        (
            "",
            "",
            "The client_id parameter or AZURE_CLIENT_ID environment variable must be set",
        ),
        (f"api-version=2018-02-01&client_id={CLIENT}", "", "The resource parameter is required."),
        (f"resource={VAULT}&object_id=x", OWN, "The parameter object_id is not supported"),
        (f"resource={VAULT}&msi_res_id=/x", OWN, "The parameter msi_res_id is not supported"),
        (f"resource={VAULT}&mi_res_id=/x", OWN, "The parameter mi_res_id is not supported"),
        (f"resource={VAULT}&client_id=web", OWN, "The client ID 'web' is not a GUID"),
        (f"resource={VAULT}", "web", "The client ID 'web' is not a GUID"),
        (f"resource={VAULT}+https://graph.microsoft.com", OWN, "must be one URI"),
        (f"resource={VAULT}%0a", OWN, "must be one URI"),
        # Answers of the reference, recorded from its v1.6.0.
        (f"resource={VAULT};client_id={CLIENT}", OWN, "The resource parameter is required."),
        (f"resource=%zz&client_id={CLIENT}", OWN, "The resource parameter is required."),
        ("&" * 200 + f"resource={VAULT}", OWN, "The resource parameter is required."),
        ("resource=" + "a" * 9000, OWN, "longer than 8192 characters"),
    ],
)
def test_request_that_cannot_succeed_is_refused_with_its_reason(
    query: str, own: str, message: str
) -> None:
    with pytest.raises(BadTokenQuery) as refused:
        parse_token_query(query, own)
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("resource", "scope"),
    [
        (VAULT, f"{VAULT}/.default"),
        (f"{VAULT}/.default", f"{VAULT}/.default"),
        # Entra derives the audience from the text before the last slash.
        (f"{VAULT}/", f"{VAULT}//.default"),
    ],
)
def test_scope_is_the_resource_with_the_default_suffix(resource: str, scope: str) -> None:
    assert TokenQuery(CLIENT, resource).scope == scope
