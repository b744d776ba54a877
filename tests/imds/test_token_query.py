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
        (f"resource={VAULT}&bypass_cache=true&authority=x&&", OWN, VAULT),
        (f"resource={VAULT}&client_id={CLIENT.upper()}", CLIENT.upper(), VAULT),
        (f"RESOURCE={VAULT}&Client_ID={CLIENT}", CLIENT, VAULT),
        # App Service's protocol of 2017-09-01.
        (f"resource={VAULT}&clientid={CLIENT}", CLIENT, VAULT),
        (f"resource={VAULT}&object_id=&client_id={CLIENT}", CLIENT, VAULT),
    ],
)
def test_client_id_defaults_to_that_of_the_pod(query: str, client_id: str, resource: str) -> None:
    parsed = parse_token_query(query, OWN)
    assert (parsed.client_id, parsed.resource) == (client_id, resource)
    assert parsed.is_default == (client_id == OWN)
    # A form has the same meaning.
    assert parse_token_query("", OWN, query) == parsed


@pytest.mark.parametrize(
    ("query", "own", "message"),
    [
        (
            "api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net%2F",
            "",
            "The client_id parameter or AZURE_CLIENT_ID environment variable must be set",
        ),
        ("", "", "The client_id parameter or AZURE_CLIENT_ID environment variable must be set"),
        (f"api-version=2018-02-01&client_id={CLIENT}", "", "The resource parameter is required."),
        (f"resource={VAULT}&object_id=x", OWN, "The parameter object_id is not supported"),
        (f"resource={VAULT}&msi_res_id=/x", OWN, "The parameter msi_res_id is not supported"),
        (f"resource={VAULT}&mi_res_id=/x", OWN, "The parameter mi_res_id is not supported"),
        (f"resource={VAULT}&principal_id=x", OWN, "The parameter principal_id is not supported"),
        (f"resource={VAULT}&client_id={CLIENT}&object_id=x", OWN, "Use only the client_id"),
        (f"resource={VAULT}&client_id=web", OWN, "The client ID 'web' is not a GUID"),
        (f"resource={VAULT}&client_id={CLIENT}%00", OWN, "is not a GUID"),
        (f"resource={VAULT}&client_id=+{CLIENT}", OWN, "is not a GUID"),
        (f"resource={VAULT}", "web", "The client ID 'web' is not a GUID"),
        (f"resource={VAULT}+https://graph.microsoft.com", OWN, "must be one URI"),
        (f"resource={VAULT}%0a", OWN, "must be one URI"),
        ("&" * 200 + f"resource={VAULT}", OWN, "more than 100 parameters"),
        ("resource=" + "a" * 9000, OWN, "longer than 8192 characters"),
    ],
    ids=range(16),
)
def test_request_that_cannot_succeed_is_refused_with_its_reason(
    query: str, own: str, message: str
) -> None:
    with pytest.raises(BadTokenQuery) as refused:
        parse_token_query(query, own)
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("client_id=%zz", "a malformed parameter: 'client_id'"),
        (f"client_id={CLIENT};x", "a malformed parameter: 'client_id'"),
        (f"x=1;client_id={CLIENT}", "a malformed parameter: 'x'"),
        (f"client_id={CLIENT}%", "a malformed parameter: 'client_id'"),
        (f"%zz=1&client_id={CLIENT}", "a malformed parameter"),
        (f"client_id={CLIENT}&client_id={OWN}", "the parameter client_id more than once"),
        (f"client_id=&client_id={CLIENT}", "the parameter client_id more than once"),
        (f"client_id={CLIENT}&Client_ID={CLIENT}", "the parameter client_id more than once"),
        (f"client_id={CLIENT}&clientid={OWN}", "the parameter client_id more than once"),
        (
            f"resource=https://graph.microsoft.com&client_id={CLIENT}",
            "parameter resource more than",
        ),
    ],
)
def test_ambiguous_identity_is_never_replaced_by_that_of_the_pod(query: str, message: str) -> None:
    with pytest.raises(BadTokenQuery, match=message):
        parse_token_query(f"resource={VAULT}&{query}", OWN)


@pytest.mark.parametrize(
    ("query", "form"),
    [
        (f"client_id={CLIENT}", f"client_id={OWN}"),
        ("client_id=", f"client_id={CLIENT}"),
        ("resource=https://graph.microsoft.com", ""),
    ],
)
def test_form_and_query_that_disagree_are_refused(query: str, form: str) -> None:
    with pytest.raises(BadTokenQuery, match="different values of"):
        parse_token_query(query, OWN, f"resource={VAULT}&{form}")


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
