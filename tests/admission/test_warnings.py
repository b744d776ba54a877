"""Each warning about a pod, and configurations without warnings."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass import names
from podpass.account.annotations import filter_annotations, parse_identity_config
from podpass.account.model import Pod, ServiceAccount, parse_pod
from podpass.admission.mutate import mutate
from podpass.admission.sidecar import ENDPOINT_VARIABLES
from podpass.admission.warnings import MAX_WARNINGS, list_label_warnings, list_warnings
from podpass.settings import WebhookSettings

Function = Callable[..., Any]
Warn = Callable[..., list[str]]
GUID = "00000000-0000-4000-8000-00000000000A"
CLIENT = {names.CLIENT_ID: GUID}
PREFIX = names.PREFIX
PROXY = {names.INJECT_PROXY: "true"}


def _account(annotations: Mapping[str, str]) -> ServiceAccount:
    return ServiceAccount(
        namespace="default", name="web", annotations=filter_annotations(annotations)
    )


@pytest.fixture
def warned(settings: WebhookSettings, mutate_and_apply: Function) -> Warn:
    """Return the warnings about a raw pod; check that a second pass returns the same."""

    def once(raw: Any, account: ServiceAccount, custom: str | None) -> tuple[list[str], Any]:
        pod = parse_pod(raw, "default")
        config = parse_identity_config(
            pod, account, tenant_id="t", custom_endpoint_annotation=custom
        )
        change = mutate(pod, config, settings)
        return list_warnings(pod, account, config, change, custom), mutate_and_apply(
            raw, change.operations
        )

    def warned(
        raw: Any, account: Mapping[str, str] = CLIENT, custom: str | None = None
    ) -> list[str]:
        messages, after = once(raw, _account(account), custom)
        again, _ = once(after, _account(account), custom)
        assert again == messages, (
            "an API server shows equal warnings once, and different ones twice"
        )
        return messages

    return warned


def _assert_one_short_line(messages: list[str], *parts: str) -> None:
    (warning,) = messages
    assert not [part for part in parts if part not in warning], warning
    assert len(warning) <= 120
    assert warning.isprintable()


@pytest.mark.parametrize("client", [GUID, GUID.lower()])
@pytest.mark.parametrize("tenant", [None, GUID, "contoso.onmicrosoft.com", "contoso.com"])
def test_correct_configuration_has_no_warnings(
    warned: Warn, make_pod: Function, client: str, tenant: str | None
) -> None:
    account = {names.CLIENT_ID: client} | ({} if tenant is None else {names.TENANT_ID: tenant})
    pod = make_pod(
        {
            names.TOKEN_EXPIRATION: "3600",
            names.SKIP_CONTAINERS: "web;",
            names.PROXY_PORT: "8000",
            "example.com/azure.workload.identity": "x",
            **PROXY,
        },
        nodeSelector={"kubernetes.io/role": "agent", "type": "spot"},
        tolerations=[{"operator": "Exists"}, {"key": "node.kubernetes.io/not-ready"}],
        nodeName="aks-nodepool1-12345678-vmss000000",
    )
    pod["metadata"]["labels"] = {names.USE_LABEL: "true", "app": "web"}
    assert warned(pod, account | {"kubectl.kubernetes.io/last-applied": "{}"}) == []


@pytest.mark.parametrize("account", [{}, {names.CLIENT_ID: ""}])
def test_account_without_client_id_is_warned_about(
    warned: Warn, make_pod: Function, account: Mapping[str, str]
) -> None:
    _assert_one_short_line(
        warned(make_pod(), account), "ServiceAccount default/web", names.CLIENT_ID
    )


def test_client_id_in_all_containers_causes_no_warning(warned: Warn, make_pod: Function) -> None:
    env = [{"name": names.ENV_CLIENT_ID, "value": GUID}]
    assert warned(make_pod(PROXY, containers=[{"name": "web", "env": env}]), {}) == []
    both = [{"name": "web", "env": env}, {"name": "other"}]
    assert len(warned(make_pod(containers=both), {})) == 1
    assert warned(make_pod({names.SKIP_CONTAINERS: "other"}, containers=both), {}) == []


@pytest.mark.parametrize(
    "client", ["web", f"{{{GUID}}}", GUID + " ", GUID[:-1], GUID + "\n", "x" * 10_000]
)
def test_client_id_that_is_not_a_guid_is_warned_about(
    warned: Warn, make_pod: Function, client: str
) -> None:
    messages = warned(make_pod(), {names.CLIENT_ID: client})
    (warning,) = messages
    assert "ServiceAccount default/web: azure.workload.identity/client-id = " in warning
    assert "not a GUID" in warning
    assert warning.isprintable()
    assert len(warning) < 160


@pytest.mark.parametrize("tenant", ["common", "contoso", ".com", "a..b.com", "x y.com", "-a.com"])
def test_malformed_tenant_is_warned_about(warned: Warn, make_pod: Function, tenant: str) -> None:
    messages = warned(make_pod(), CLIENT | {names.TENANT_ID: tenant})
    _assert_one_short_line(
        messages, "ServiceAccount default/web", names.TENANT_ID, repr(tenant), "neither"
    )


def test_empty_tenant_is_warned_about(warned: Warn, make_pod: Function) -> None:
    _assert_one_short_line(
        warned(make_pod(), CLIENT | {names.TENANT_ID: ""}), names.TENANT_ID, "is empty"
    )


@pytest.mark.parametrize("text", ["wbe", "web,init", "web;wbe", "Web"])
def test_skipped_name_without_container_is_warned_about(
    warned: Warn, make_pod: Function, text: str
) -> None:
    messages = warned(make_pod({names.SKIP_CONTAINERS: text}))
    _assert_one_short_line(messages, names.SKIP_CONTAINERS, repr(text.split(";")[-1]))


def test_init_containers_and_sidecars_may_be_skipped(warned: Warn, make_pod: Function) -> None:
    text = "init; azwi-proxy; azwi-proxy-init;"
    pod = make_pod({names.SKIP_CONTAINERS: text}, initContainers=[{"name": "init"}])
    assert warned(pod) == []


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("skip-container", "did you mean skip-containers?"),
        ("service-account-token-expiraton", "did you mean service-account-token-expiration?"),
        ("Inject-Proxy-Sidecar", "did you mean inject-proxy-sidecar?"),
        ("anything", "is unknown"),
        ("client-id", "works only on the ServiceAccount"),
        ("tenant-id", "works only on the ServiceAccount"),
        ("use", "label of the pod"),
        ("use-identity-binding", "has no such token endpoint"),
    ],
)
def test_annotation_without_effect_is_warned_about(
    warned: Warn, make_pod: Function, key: str, part: str
) -> None:
    messages = warned(make_pod({PREFIX + key: "true"}))
    assert PREFIX + key in messages[0]
    assert part in messages[0]
    assert len(messages) == 1


def test_unknown_annotation_without_similar_key_has_no_suggestion(
    warned: Warn, make_pod: Function
) -> None:
    assert "did you mean" not in warned(make_pod({PREFIX + "anything": "x"}))[0]


def test_served_custom_endpoint_causes_no_warning(warned: Warn, make_pod: Function) -> None:
    custom = PREFIX + "use-identity-binding"
    assert warned(make_pod({custom: "true"}), custom=custom) == []
    assert len(warned(make_pod({custom + "s": "true"}), custom=custom)) == 1


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("used", "did you mean use?"),
        ("anything", "is unknown"),
        ("client-id", "is an annotation"),
        ("skip-containers", "is an annotation"),
    ],
)
def test_label_without_effect_is_warned_about(
    warned: Warn, make_pod: Function, key: str, part: str
) -> None:
    pod = make_pod()
    pod["metadata"]["labels"] = {PREFIX + key: "x"}
    _assert_one_short_line(warned(pod), PREFIX + key, part)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("client_id", "did you mean client-id?"),
        ("anything", "is unknown"),
        ("skip-containers", "works only on the pod"),
    ],
)
def test_account_annotation_without_effect_is_warned_about(
    warned: Warn, make_pod: Function, key: str, part: str
) -> None:
    _assert_one_short_line(
        warned(make_pod(), CLIENT | {PREFIX + key: "x"}), "default/web", PREFIX + key, part
    )


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"nodeSelector": {"type": "virtual-kubelet"}}, "nodeSelector type"),
        ({"tolerations": [{"key": "virtual-kubelet.io/provider"}]}, "virtual-kubelet.io/provider"),
        ({"tolerations": [{"key": "a"}, {"key": "azure.com/aci"}]}, "azure.com/aci"),
        ({"nodeName": "virtual-node-aci-linux"}, "nodeName"),
        ({"nodeName": "virtual-kubelet"}, "nodeName"),
    ],
)
def test_pod_for_a_virtual_node_is_warned_about(
    warned: Warn, make_pod: Function, spec: dict[str, Any], where: str
) -> None:
    _assert_one_short_line(
        warned(make_pod(**spec)),
        where,
        "the pod may run on a virtual node",
        "no token is projected",
    )


@pytest.mark.parametrize("wrong", [7, "x", [7], [{"key": ["a"]}], {"type": ["a"]}, {"type": {}}])
def test_invalid_scheduling_fields_cause_no_warning(
    warned: Warn, make_pod: Function, wrong: Any
) -> None:
    assert warned(make_pod(tolerations=wrong, nodeSelector=wrong, nodeName=wrong)) == []


@pytest.mark.parametrize("value", ["false", "", "no", "0"])
def test_sidecar_annotation_with_another_value_is_warned_about(
    warned: Warn, make_pod: Function, value: str
) -> None:
    _assert_one_short_line(
        warned(make_pod({names.INJECT_PROXY: value})), names.INJECT_PROXY, repr(value)
    )


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_requested_sidecar_causes_no_warning(warned: Warn, make_pod: Function, value: str) -> None:
    assert warned(make_pod({names.INJECT_PROXY: value})) == []


@pytest.mark.parametrize(
    ("user", "part"),
    [(0, "prevents azwi-proxy from starting"), (1000, "call itself"), (1501, "bypass the sidecar")],
)
def test_pod_user_that_prevents_the_sidecar_is_warned_about(
    warned: Warn, make_pod: Function, user: int, part: str
) -> None:
    spec = {"securityContext": {"runAsUser": user}}
    _assert_one_short_line(warned(make_pod(PROXY, **spec)), part, str(user))
    assert warned(make_pod(**spec)) == []


def test_container_user_that_bypasses_the_sidecar_is_warned_about(
    warned: Warn, make_pod: Function
) -> None:
    def containers(user: int) -> list[dict[str, Any]]:
        return [{"name": "web", "securityContext": {"runAsUser": user}}]

    _assert_one_short_line(
        warned(make_pod(PROXY, containers=containers(1501))), "container web", "1501"
    )
    assert warned(make_pod(PROXY, containers=containers(1000))) == []
    proxy = [{"name": names.PROXY_CONTAINER, "securityContext": {"runAsUser": 1501}}]
    assert warned(make_pod(PROXY, initContainers=proxy)) == []


def test_mode_env_has_only_the_warning_about_a_sidecar_that_cannot_start(
    warned: Warn, make_pod: Function
) -> None:
    env = PROXY | {names.PROXY_MODE: "env"}

    def pod(user: int) -> Any:
        containers = [{"name": "web", "securityContext": {"runAsUser": 1501}}]
        return make_pod(env, containers=containers, securityContext={"runAsUser": user})

    _assert_one_short_line(warned(pod(0)), "prevents azwi-proxy from starting")
    assert warned(pod(1000)) == []
    assert warned(pod(1501)) == []


def test_mode_without_a_sidecar_is_warned_about(warned: Warn, make_pod: Function) -> None:
    _assert_one_short_line(
        warned(make_pod({names.PROXY_MODE: "env"})), names.PROXY_MODE, "inject-proxy-sidecar"
    )


@pytest.mark.parametrize("name", sorted(ENDPOINT_VARIABLES - {"PODPASS_POD_ADDRESS"}))
def test_variable_that_bypasses_the_sidecar_is_warned_about(
    warned: Warn, make_pod: Function, name: str
) -> None:
    containers = [{"name": "web", "env": [{"name": "A"}, {"name": name, "value": "x"}]}]
    env = PROXY | {names.PROXY_MODE: "env"}
    _assert_one_short_line(warned(make_pod(env, containers=containers)), "'web'", name)
    assert warned(make_pod(PROXY, containers=containers)) == []


def test_volume_at_the_old_path_is_warned_about(warned: Warn, make_pod: Function) -> None:
    mounts = [{"name": "links", "mountPath": names.LEGACY_MOUNT_PATH}]
    containers = [{"name": "web", "volumeMounts": mounts}]
    legacy = {names.LEGACY_TOKEN_PATH: "true"}
    _assert_one_short_line(
        warned(make_pod(legacy, containers=containers)), "'web'", names.LEGACY_MOUNT_PATH
    )
    assert warned(make_pod(containers=containers)) == []


@pytest.mark.parametrize(
    ("key", "suggested"),
    [
        (names.OWN_PREFIX + "proxy-modes", names.PROXY_MODE),
        (names.PREFIX + "proxy-mode", names.PROXY_MODE),
        (names.PREFIX + "proxy-sidecar-prt", "proxy-sidecar-port"),
    ],
)
def test_misspelled_annotation_of_the_sidecar_is_corrected(
    warned: Warn, make_pod: Function, key: str, suggested: str
) -> None:
    (warning,) = warned(make_pod({key: "env"}))
    assert f"did you mean {suggested}?" in warning


@pytest.mark.parametrize("name", [names.ENV_CLIENT_SECRET, names.ENV_CLIENT_CERTIFICATE])
def test_secret_that_sdks_try_before_the_token_is_warned_about(
    warned: Warn, make_pod: Function, name: str
) -> None:
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    containers = [{"name": "web", "env": [{"name": "A"}, {"name": name, "valueFrom": source}]}]
    _assert_one_short_line(
        warned(make_pod(containers=containers)), "container 'web'", name, "before the token"
    )
    assert len(warned(make_pod(initContainers=containers))) == 1
    assert warned(make_pod({names.SKIP_CONTAINERS: "web"}, containers=containers)) == []


@pytest.mark.parametrize(
    ("host", "is_warned"),
    [
        ("https://login.microsoftonline.us/", True),
        ("https://login.example.com/", True),
        ("http://login.microsoftonline.com/", True),
        ("no url", True),
        ("https://login.microsoftonline.com", False),
        ("https://login.windows.net/", False),
        ("", False),
        (None, False),
    ],
)
def test_authority_of_another_service_is_warned_about(
    warned: Warn, make_pod: Function, host: str | None, is_warned: bool
) -> None:
    """No warning for the webhook's own value, set by an earlier pass, or another name of the same service."""
    source: dict[str, Any] = {"valueFrom": {}} if host is None else {"value": host}
    env = [{"name": "AZURE_AUTHORITY_HOST", **source}]
    messages = warned(make_pod(containers=[{"name": "app", "env": env}]))
    if is_warned:
        _assert_one_short_line(
            messages, "container 'app'", "AZURE_AUTHORITY_HOST", "login.microsoftonline.com"
        )
    else:
        assert messages == []


def test_first_warnings_are_shown_and_the_rest_counted(warned: Warn, make_pod: Function) -> None:
    """A pod with a hundred thousand mistakes must not delay the next request or overflow a header."""
    annotations = {f"{PREFIX}{'x' * 100}{n}": "" for n in range(100_000)}
    skipped = ";".join(f"c{n}" for n in range(100_000))
    pod = make_pod({**annotations, names.SKIP_CONTAINERS: skipped})
    messages = warned(pod)
    assert len(messages) == MAX_WARNINGS
    assert messages[-1] == "100001 more warnings are not shown"
    assert sum(map(len, messages)) < 4096 / 2
    five = make_pod({f"{PREFIX}{n}": "" for n in range(MAX_WARNINGS)})
    assert "more" not in warned(five)[-1]


@pytest.mark.parametrize("key", ["a\nb", "a\0", "\u2028", "x" * 100_000, "\U000e0001" * 1000])
def test_warning_about_an_unvalidated_key_is_one_short_line(
    warned: Warn, make_pod: Function, key: str
) -> None:
    pod = make_pod({PREFIX + key: ""})
    pod["metadata"]["labels"] = {PREFIX + key: ""}
    for warning in warned(pod):
        assert warning.isprintable()
        assert len(warning) <= 170


@pytest.mark.parametrize("odd", ["a\nb", "a\x7f", "\u2028", "x" * 100_000, "\U000e0001" * 1000])
def test_warning_about_an_unvalidated_account_is_one_line(
    settings: WebhookSettings, make_pod: Function, odd: str
) -> None:
    """The namespace of a review is not validated before, because an API server sends an existing one."""
    pod = parse_pod(make_pod(), "default")
    for names_of in ({"namespace": odd, "name": "web"}, {"namespace": "default", "name": odd}):
        bare = ServiceAccount(**names_of, annotations={})
        config = parse_identity_config(pod, bare, tenant_id="t")
        messages = list_warnings(pod, bare, config, mutate(pod, config, settings), None)
        messages += list_label_warnings(
            _pod_with_label(None), ServiceAccount(**names_of, annotations=CLIENT)
        )
        assert len(messages) == 2
        assert all(each.isprintable() and len(each) <= 512 for each in messages)


def test_longest_possible_account_name_is_shown_in_full() -> None:
    longest = ServiceAccount(namespace="n" * 63, name="a" * 253, annotations=CLIENT)
    (messages,) = list_label_warnings(_pod_with_label(None), longest)
    assert messages.startswith(f"{longest} has a client ID")


def _pod_with_label(value: Any) -> Pod:
    labels = {} if value is None else {names.USE_LABEL: value}
    raw = {"metadata": {"name": "app", "labels": labels}, "spec": {}}
    return parse_pod(raw, "default")


def test_label_warning_names_the_account_with_client_id() -> None:
    _assert_one_short_line(
        list_label_warnings(_pod_with_label(None), _account(CLIENT)),
        "default/web",
        f'{names.USE_LABEL}: "true"',
    )
    assert list_label_warnings(_pod_with_label(None), _account({})) == []
    assert list_label_warnings(_pod_with_label(None), _account({names.CLIENT_ID: ""})) == []


@pytest.mark.parametrize("value", ["True", "yes", "", 7])
def test_label_with_another_value_is_shown(value: Any) -> None:
    _assert_one_short_line(
        list_label_warnings(_pod_with_label(value), _account(CLIENT)),
        f"{names.USE_LABEL} = {value!r} is not",
    )


def test_labelled_pod_has_no_label_warning() -> None:
    assert list_label_warnings(_pod_with_label("true"), _account(CLIENT)) == []
