"""Known sentences in texts: of SDKs as recorded, of clusters, in logs of any size."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubeling.kubelet import images

from podpass.admission.warnings import TEXTS
from podpass.diagnose.explain.recognition import MAX_PLACES, find_sentences, recognize
from podpass.diagnose.explain.sentences import SENTENCES
from podpass.lab.cluster import image_source

VECTORS = Path(__file__).parents[2] / "vectors"
SDK = json.loads((VECTORS / "sdk_errors.json").read_text())["errors"]
CLUSTER = json.loads((VECTORS / "cluster_errors.json").read_text())["errors"]
FORBIDDEN = """(Forbidden) Caller is not authorized to perform action on resource.
Code: Forbidden
Inner error: {
    "code": "ForbiddenByRbac"
}"""


def ids(text: str) -> list[str]:
    found = recognize(text)
    return [*map(str, found.numbers), *(each.sentence.id for each in found.findings)]


def name(entry: dict[str, Any]) -> str:
    return "-".join(str(entry[key]) for key in ("client", "kind", "failure") if key in entry)


@pytest.mark.parametrize("entry", [*SDK, *CLUSTER], ids=name)
def test_recorded_sentence_is_recognized(entry: dict[str, Any]) -> None:
    found = ids(entry["text"])
    assert {*found} & {*entry["expected"]}, found


@pytest.mark.parametrize("entry", SDK, ids=name)
def test_recorded_sentence_is_recognized_in_a_log_line(entry: dict[str, Any]) -> None:
    """As a JSON string in a JSON string, after other lines of a log."""
    line = json.dumps({"msg": json.dumps({"error": entry["text"]})})
    log = "\n".join([*(f'{{"msg":"started {n}"}}' for n in range(50)), line])
    assert {*ids(log)} & {*entry["expected"]}


def test_every_client_and_failure_is_recorded() -> None:
    clients = {entry["client"] for entry in SDK}
    assert {each.partition("-")[0] for each in clients} >= {
        *("python", "node", "java", "go", "rust", "dotnet", "cpp", "msal", "storage")
    }
    for client in clients:
        failures = {entry["failure"] for entry in SDK if entry["client"] == client}
        # MSAL alone has no chain and no webhook's variables; the errors of C++ name no cause; Storage's
        # clients in Node and Go have one refusal, in Python all.
        least = {"msal": 8, "cpp": 1, "storage": 1}.get(client.partition("-")[0], 10)
        assert len(failures) >= least, client


@pytest.mark.parametrize("text", ["", "no idea", "200 OK", "error", "token", "x" * 5000])
def test_other_text_has_no_finding(text: str) -> None:
    assert ids(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "PermissionError: [Errno 13] Permission denied: '/var/run/secrets/azure/tokens/azure-identity-token'",
        "open /var/run/secrets/azure/wi/token/azure-identity-token: permission denied",
        "AuthenticationRequiredError: EISDIR: illegal operation on a directory, read",
        "Failed to read federated token from file. java.io.IOException: Is a directory",
        "java.nio.file.AccessDeniedException: /var/run/secrets/azure/wi/token/azure-identity-token",
    ],
)
def test_token_file_without_a_right_to_read_is_recognized(text: str) -> None:
    assert ids(text) == ["sdk_token_file_unreadable"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            (
                "ErrorCode:AuthorizationPermissionMismatch This request is not authorized to perform this"
                " operation using this permission."
            ),
            "storage_forbidden",
        ),
        (
            (
                "Status: 403 (Server failed to authenticate the request. Make sure the value of Authorization"
                " header is formed correctly including the signature.) ErrorCode: AuthenticationFailed"
            ),
            "storage_token_refused",
        ),
        (
            "ErrorCode:PublicAccessNotPermitted Public access is not permitted on this storage account.",
            "storage_public_access",
        ),
        (
            "Key based authentication is not permitted on this storage account.",
            "storage_key_not_permitted",
        ),
        (
            (
                "RESPONSE 403: This request is not authorized to perform this operation. ERROR CODE:"
                " AuthorizationFailure"
            ),
            "storage_forbidden_by_network",
        ),
        (
            "RestError: getaddrinfo ENOTFOUND orders.blob.core.windows.net",
            "storage_account_not_found",
        ),
        ("ErrorCode:ContainerNotFound", "storage_object_not_found"),
        ("ErrorCode:CannotVerifyCopySource", "storage_copy_source"),
        ("ErrorCode:FeatureNotSupportedOnAccount", "storage_not_supported"),
        ("ErrorCode:ServerBusy Azurite's blob service does not respond.", "storage_unavailable"),
    ],
)
def test_refusal_of_storage_is_recognized(text: str, expected: str) -> None:
    """With the codes of Azure Storage, as documented, and its libraries' forms."""
    assert ids(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "mkdir /data: permission denied",
        "Readiness probe failed: dial tcp 10.0.0.1:8080: connect: connection refused",
        "curl: (6) Could not resolve host: example.com",
    ],
)
def test_error_of_another_file_or_program_has_no_finding(text: str) -> None:
    assert ids(text) == []


def test_only_known_placeholders_of_a_command_are_replaced() -> None:
    [found] = recognize("no tenant ID specified. Check pod configuration").findings
    assert "doctor web -n NAMESPACE names" in found.fill({"POD": "web"}).sentence.run
    [found] = recognize("ErrorCode:ContainerNotFound").findings
    filled = found.fill({"SERVICEACCOUNT": "web", "NAMESPACE": "shop"}).sentence.run
    assert "--account-name ACCOUNT" in filled  # a storage account


@pytest.mark.parametrize(
    ("before", "after", "excerpt"),
    [
        ("", "", "ForbiddenByRbac"),
        ("app: ", " here", "app: ForbiddenByRbac here"),
        ("word " * 50, "", f"{'word ' * 50}ForbiddenByRbac"),
        ("word " * 99, " word" * 90, f"...{'word ' * 60}ForbiddenByRbac{' word' * 37}..."),
    ],
    ids=["alone", "short", "long message", "longer than a message"],
)
def test_excerpt_is_cut_between_words_and_marked(before: str, after: str, excerpt: str) -> None:
    [found] = recognize(f"{before}ForbiddenByRbac{after}").findings
    assert found.excerpt == excerpt


def test_cause_hides_sentences_that_repeat_it() -> None:
    assert ids(f"DefaultAzureCredential: failed to acquire a token.\n{FORBIDDEN}") == [
        "vault_forbidden_by_rbac"
    ]
    assert ids("CredentialUnavailableError: authentication unavailable") == ["sdk_no_credential"]


def test_findings_are_in_the_order_of_the_text() -> None:
    label = "ServiceAccount a/b has a client ID, but the pod lacks the label azure.workload.identity/use"
    assert ids(f"{FORBIDDEN} {label}") == ["vault_forbidden_by_rbac", "admission_label_missing"]


def test_excerpt_is_bounded_and_has_the_words() -> None:
    (found,) = recognize("x" * 9000 + FORBIDDEN + "y" * 9000).findings
    assert "authorized" in found.excerpt
    assert len(found.excerpt) <= 510


@pytest.mark.parametrize(
    "code", [each for each in TEXTS if each.startswith(("label_", "client_id_"))]
)
def test_warning_of_the_webhook_is_recognized(code: str) -> None:
    values = {"account": "ServiceAccount a/b", "key": "azure.workload.identity/use", "value": "'x'"}
    assert ids(TEXTS[code].format(**values))


def test_event_of_the_kubelet_is_recognized() -> None:
    event = 'MountVolume.SetUp failed for volume "token" : serviceaccounts "web" not found'
    assert ids(f"Warning FailedMount pod/web {event}") == ["token_account_not_found"]


RBAC_FORBIDDEN = (
    'Error from server (Forbidden): pods is forbidden: User "dev" cannot list resource "pods" in API group'
    ' "" in the namespace "shop"'
)
TOKEN_FORBIDDEN = (
    'serviceaccounts "web" is forbidden: User "system:node:n" cannot create resource'
    ' "serviceaccounts/token"'
)
BACK_OFF = 'Warning  Failed  kubelet  Error: ImagePullBackOff: Back-off pulling image "'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop  web-5d  0/1  ImageUnknown  0  5s", "image_unknown"),
        (str(image_source.ImageUnknown("example.org/shop/web:1", "")), "image_unknown"),
        (str(images.ImageUnknown("example.org/shop/web:1", "Never")), "image_unknown_kubeling"),
        (f'{BACK_OFF}example.org/shop/web:1"', "image_not_pulled"),
        (f'{BACK_OFF}mcr.microsoft.com/azure-workload-identity/proxy"', "sidecar_image_not_pulled"),
        (RBAC_FORBIDDEN, "rbac_forbidden"),
        (TOKEN_FORBIDDEN, "token_request_refused"),
    ],
)
def test_failure_of_an_image_or_of_rbac_is_recognized(text: str, expected: str) -> None:
    assert ids(text) == [expected]


def test_other_refusal_of_the_api_server_is_no_missing_right() -> None:
    assert ids('pods "web" is forbidden: violates PodSecurity "restricted:latest"') == []


def test_sentences_have_unique_ids_and_say_what_to_run() -> None:
    assert len({each.id for each in SENTENCES}) == len(SENTENCES)
    known = {each.id for each in SENTENCES}
    for each in SENTENCES:
        assert each.means[0].islower() or each.means.startswith("SDK")
        assert not each.run.endswith(".")
        assert {*each.hides} <= known


class CountingText(str):
    """A text that counts how far it is searched."""

    __slots__ = ()
    searched = 0

    def find(self, *arguments: Any) -> int:
        found = super().find(*arguments)
        begin = arguments[1] if len(arguments) > 1 else 0
        CountingText.searched += (len(self) if found < 0 else found) - begin
        return found


@pytest.mark.parametrize(
    "unit", ["Connection refused ", "no such host ", "expirationSeconds ", "x"]
)
def test_work_grows_linearly_with_the_text(unit: str) -> None:
    """Each fixed text is searched once, and at most a fixed number of places is examined."""
    words = sum(len(each.words) for each in SENTENCES)
    for size in (1_000, 100_000):
        CountingText.searched = 0
        text = CountingText(unit * (size // len(unit)))
        find_sentences(text, [0, len(text) + 1])
        assert 0 < CountingText.searched <= words * (size + MAX_PLACES * 100)


WORDS = [word for each in SENTENCES for word in (*each.words, *each.near)]


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=20)), max_size=12))
def test_any_text_is_read(parts: list[str]) -> None:
    for found in recognize(" ".join(parts)).findings:
        assert found.excerpt


def test_excerpt_has_only_the_line_of_the_error() -> None:
    text = f"the secret is hunter2\n{FORBIDDEN}\nhunter3"
    assert FORBIDDEN.splitlines()[0] in [each.excerpt for each in recognize(text).findings]
    for found in recognize(text).findings:
        assert "hunter" not in found.excerpt
