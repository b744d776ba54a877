"""What whoever applies a pod is warned of, each by its own word, and what nobody is warned of."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass import names
from podpass.account.annotations import read_wish, relevant
from podpass.account.model import Account, Pod, read_pod
from podpass.admission.mutate import mutate
from podpass.admission.warnings import MAX_WARNINGS, advise, warn
from podpass.settings import WebhookSettings

Function = Callable[..., Any]
Warn = Callable[..., list[str]]
GUID = "00000000-0000-4000-8000-00000000000A"
CLIENT = {names.CLIENT_ID: GUID}
PREFIX = names.PREFIX
PROXY = {names.INJECT_PROXY: "true"}


def _account(annotations: Mapping[str, str]) -> Account:
    return Account(namespace="default", name="web", annotations=relevant(annotations))


@pytest.fixture
def warned(settings: WebhookSettings, applying: Function) -> Warn:
    """Warn of a raw pod, and see that a second pass warns of the same."""

    def once(raw: Any, account: Account, custom: str | None) -> tuple[list[str], Any]:
        pod = read_pod(raw, "default")
        wish = read_wish(pod, account, tenant_id="t", custom_endpoint_annotation=custom)
        change = mutate(pod, wish, settings)
        return warn(pod, account, wish, change, custom), applying(raw, change.operations)

    def warned(
        raw: Any, account: Mapping[str, str] = CLIENT, custom: str | None = None
    ) -> list[str]:
        said, after = once(raw, _account(account), custom)
        again, _ = once(after, _account(account), custom)
        assert again == said, "an API server shows equal warnings once, and others twice"
        return said

    return warned


def _one(said: list[str], *parts: str) -> None:
    (warning,) = said
    assert not [part for part in parts if part not in warning], warning
    assert len(warning) <= 120
    assert warning.isprintable()


@pytest.mark.parametrize("client", [GUID, GUID.lower()])
@pytest.mark.parametrize("tenant", [None, GUID, "contoso.onmicrosoft.com", "contoso.com"])
def test_nobody_is_warned_of_what_is_right(
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
def test_an_account_without_client_id(
    warned: Warn, make_pod: Function, account: Mapping[str, str]
) -> None:
    _one(warned(make_pod(), account), "ServiceAccount default/web", names.CLIENT_ID)


def test_a_client_id_in_the_containers_themselves_is_enough(
    warned: Warn, make_pod: Function
) -> None:
    env = [{"name": names.ENV_CLIENT_ID, "value": GUID}]
    assert warned(make_pod(PROXY, containers=[{"name": "web", "env": env}]), {}) == []
    both = [{"name": "web", "env": env}, {"name": "other"}]
    assert len(warned(make_pod(containers=both), {})) == 1
    assert warned(make_pod({names.SKIP_CONTAINERS: "other"}, containers=both), {}) == []


@pytest.mark.parametrize(
    "client", ["web", f"{{{GUID}}}", GUID + " ", GUID[:-1], GUID + "\n", "x" * 10_000]
)
def test_a_client_id_that_is_no_guid(warned: Warn, make_pod: Function, client: str) -> None:
    said = warned(make_pod(), {names.CLIENT_ID: client})
    (warning,) = said
    assert "ServiceAccount default/web: azure.workload.identity/client-id = " in warning
    assert "not a GUID" in warning
    assert warning.isprintable()
    assert len(warning) < 160


@pytest.mark.parametrize("tenant", ["common", "contoso", ".com", "a..b.com", "x y.com", "-a.com"])
def test_a_tenant_that_cannot_be_one(warned: Warn, make_pod: Function, tenant: str) -> None:
    said = warned(make_pod(), CLIENT | {names.TENANT_ID: tenant})
    _one(said, "ServiceAccount default/web", names.TENANT_ID, repr(tenant), "neither")


def test_an_empty_tenant(warned: Warn, make_pod: Function) -> None:
    _one(warned(make_pod(), CLIENT | {names.TENANT_ID: ""}), names.TENANT_ID, "is empty")


@pytest.mark.parametrize("text", ["wbe", "web,init", "web;wbe", "Web"])
def test_a_skipped_name_that_no_container_has(warned: Warn, make_pod: Function, text: str) -> None:
    said = warned(make_pod({names.SKIP_CONTAINERS: text}))
    _one(said, names.SKIP_CONTAINERS, repr(text.split(";")[-1]))


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
        ("client-id", "counts on the ServiceAccount"),
        ("tenant-id", "counts on the ServiceAccount"),
        ("use", "label of the pod"),
        ("use-identity-binding", "knows no such token endpoint"),
    ],
)
def test_an_annotation_that_does_nothing(
    warned: Warn, make_pod: Function, key: str, part: str
) -> None:
    said = warned(make_pod({PREFIX + key: "true"}))
    assert PREFIX + key in said[0]
    assert part in said[0]
    assert len(said) == 1


def test_an_annotation_near_to_none_brings_no_guess(warned: Warn, make_pod: Function) -> None:
    assert "did you mean" not in warned(make_pod({PREFIX + "anything": "x"}))[0]


def test_the_endpoint_this_webhook_serves_is_known(warned: Warn, make_pod: Function) -> None:
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
def test_a_label_that_does_nothing(warned: Warn, make_pod: Function, key: str, part: str) -> None:
    pod = make_pod()
    pod["metadata"]["labels"] = {PREFIX + key: "x"}
    _one(warned(pod), PREFIX + key, part)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("client_id", "did you mean client-id?"),
        ("anything", "is unknown"),
        ("skip-containers", "counts on the pod"),
    ],
)
def test_an_annotation_of_the_account_that_does_nothing(
    warned: Warn, make_pod: Function, key: str, part: str
) -> None:
    _one(warned(make_pod(), CLIENT | {PREFIX + key: "x"}), "default/web", PREFIX + key, part)


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
def test_a_pod_that_may_run_on_a_virtual_node(
    warned: Warn, make_pod: Function, spec: dict[str, Any], where: str
) -> None:
    _one(
        warned(make_pod(**spec)),
        where,
        "the pod may run on a virtual node",
        "no token is projected",
    )


@pytest.mark.parametrize("wrong", [7, "x", [7], [{"key": ["a"]}], {"type": ["a"]}, {"type": {}}])
def test_a_placement_of_the_wrong_shape_is_left_to_the_api_server(
    warned: Warn, make_pod: Function, wrong: Any
) -> None:
    assert warned(make_pod(tolerations=wrong, nodeSelector=wrong, nodeName=wrong)) == []


@pytest.mark.parametrize("value", ["false", "", "no", "0"])
def test_a_sidecar_that_was_not_meant(warned: Warn, make_pod: Function, value: str) -> None:
    _one(warned(make_pod({names.INJECT_PROXY: value})), names.INJECT_PROXY, repr(value))


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_a_sidecar_that_was_meant(warned: Warn, make_pod: Function, value: str) -> None:
    assert warned(make_pod({names.INJECT_PROXY: value})) == []


@pytest.mark.parametrize(
    ("user", "part"),
    [(0, "keeps azwi-proxy from starting"), (1000, "call itself"), (1501, "pass the sidecar by")],
)
def test_a_pods_user_beside_the_sidecar(
    warned: Warn, make_pod: Function, user: int, part: str
) -> None:
    spec = {"securityContext": {"runAsUser": user}}
    _one(warned(make_pod(PROXY, **spec)), part, str(user))
    assert warned(make_pod(**spec)) == []


def test_a_containers_user_beside_the_sidecar(warned: Warn, make_pod: Function) -> None:
    def containers(user: int) -> list[dict[str, Any]]:
        return [{"name": "web", "securityContext": {"runAsUser": user}}]

    _one(warned(make_pod(PROXY, containers=containers(1501))), "container web", "1501")
    assert warned(make_pod(PROXY, containers=containers(1000))) == []
    proxy = [{"name": names.PROXY_CONTAINER, "securityContext": {"runAsUser": 1501}}]
    assert warned(make_pod(PROXY, initContainers=proxy)) == []


@pytest.mark.parametrize("name", [names.ENV_CLIENT_SECRET, names.ENV_CLIENT_CERTIFICATE])
def test_a_secret_that_is_tried_before_the_token(
    warned: Warn, make_pod: Function, name: str
) -> None:
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    containers = [{"name": "web", "env": [{"name": "A"}, {"name": name, "valueFrom": source}]}]
    _one(warned(make_pod(containers=containers)), "container 'web'", name, "before the token")
    assert len(warned(make_pod(initContainers=containers))) == 1
    assert warned(make_pod({names.SKIP_CONTAINERS: "web"}, containers=containers)) == []


def test_the_first_few_are_told_and_the_rest_counted(warned: Warn, make_pod: Function) -> None:
    """A pod of a hundred thousand faults must not hold up the next one, nor overflow a header."""
    annotations = {f"{PREFIX}{'x' * 100}{n}": "" for n in range(100_000)}
    skipped = ";".join(f"c{n}" for n in range(100_000))
    pod = make_pod({**annotations, names.SKIP_CONTAINERS: skipped})
    said = warned(pod)
    assert len(said) == MAX_WARNINGS
    assert said[-1] == "100001 more warnings are not shown"
    assert sum(map(len, said)) < 4096 / 2
    five = make_pod({f"{PREFIX}{n}": "" for n in range(MAX_WARNINGS)})
    assert "more" not in warned(five)[-1]


@pytest.mark.parametrize("key", ["a\nb", "a\0", "\u2028", "x" * 100_000, "\U000e0001" * 1000])
def test_a_key_nobody_has_checked_yet_stays_on_one_short_line(
    warned: Warn, make_pod: Function, key: str
) -> None:
    pod = make_pod({PREFIX + key: ""})
    pod["metadata"]["labels"] = {PREFIX + key: ""}
    for warning in warned(pod):
        assert warning.isprintable()
        assert len(warning) <= 170


@pytest.mark.parametrize("odd", ["a\nb", "a\x7f", "\u2028", "x" * 100_000, "\U000e0001" * 1000])
def test_an_account_nobody_has_checked_yet_stays_on_one_line(
    settings: WebhookSettings, make_pod: Function, odd: str
) -> None:
    """A review's namespace is not looked at before: an API server sends one that exists."""
    pod = read_pod(make_pod(), "default")
    for names_of in ({"namespace": odd, "name": "web"}, {"namespace": "default", "name": odd}):
        bare = Account(**names_of, annotations={})
        wish = read_wish(pod, bare, tenant_id="t")
        said = warn(pod, bare, wish, mutate(pod, wish, settings), None)
        said += advise(_labelled(None), Account(**names_of, annotations=CLIENT))
        assert len(said) == 2
        assert all(each.isprintable() and len(each) <= 512 for each in said)


def test_the_longest_account_there_can_be_is_told_whole() -> None:
    longest = Account(namespace="n" * 63, name="a" * 253, annotations=CLIENT)
    (said,) = advise(_labelled(None), longest)
    assert said.startswith(f"{longest} has a client id")


def _labelled(value: Any) -> Pod:
    labels = {} if value is None else {names.USE_LABEL: value}
    raw = {"metadata": {"name": "app", "labels": labels}, "spec": {}}
    return read_pod(raw, "default")


def test_a_pod_without_the_label_is_told_of_its_accounts_client_id() -> None:
    _one(advise(_labelled(None), _account(CLIENT)), "default/web", f'{names.USE_LABEL}: "true"')
    assert advise(_labelled(None), _account({})) == []
    assert advise(_labelled(None), _account({names.CLIENT_ID: ""})) == []


@pytest.mark.parametrize("value", ["True", "yes", "", 7])
def test_a_label_of_another_value_is_shown(value: Any) -> None:
    _one(advise(_labelled(value), _account(CLIENT)), f"{names.USE_LABEL} = {value!r} is not")


def test_a_pod_with_the_label_needs_no_advice() -> None:
    assert advise(_labelled("true"), _account(CLIENT)) == []
