"""The patch that makes containers trust the CA of the cloud."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.account.model import MalformedPod, MountPathTaken, PatchTooLarge, PodRefused
from podpass.lab.names.injection import (
    MAX_CONTAINERS,
    MAX_WARNINGS,
    BundleNames,
    VolumeNameTaken,
    build_variables,
)
from tests.admission.conftest import apply_patch
from tests.lab.names.pods import NAMES, Object, inject_raw, make_pod, patched

MOUNT = {"name": NAMES.bundle, "mountPath": NAMES.mount_path, "readOnly": True}
SOURCE = {"configMapRef": {"name": NAMES.environment, "optional": False}}
GROUPS = ("initContainers", "containers", "ephemeralContainers")


def _every_kind() -> Object:
    native = {"name": "mesh", "image": "m:1", "restartPolicy": "Always"}
    return make_pod(
        initContainers=[{"name": "init", "image": "i:1"}, native],
        ephemeralContainers=[{"name": "debug", "image": "d:1"}],
    )


def test_every_kind_of_container_gets_mount_and_variables() -> None:
    spec = patched(_every_kind())["spec"]
    found = [container for group in GROUPS for container in spec[group]]
    assert [container["name"] for container in found] == ["init", "mesh", "web", "debug"]
    for container in found:
        assert container["volumeMounts"] == [MOUNT]
        assert container["envFrom"] == [SOURCE]
        assert "env" not in container
    (volume,) = spec["volumes"]
    assert volume["name"] == NAMES.bundle
    everything, java = volume["projected"]["sources"]
    assert everything == {"configMap": {"name": NAMES.bundle, "optional": False}}
    assert java["configMap"]["items"] == [{"key": "truststore.p12", "path": "truststore.jks"}]


def test_variables_name_files_of_the_mount() -> None:
    variables = build_variables(BundleNames(mount_path="/m"))
    assert variables["SSL_CERT_FILE"] == "/m/ca-certificates.crt"
    assert variables["SSL_CERT_DIR"] == "/m"
    assert variables["NODE_EXTRA_CA_CERTS"] == "/m/ca.crt"
    assert "-Djavax.net.ssl.trustStore=/m/truststore.p12" in variables["JAVA_TOOL_OPTIONS"]


@pytest.mark.parametrize("name", ["null", "empty", "present"])
def test_lists_of_the_user_are_kept(name: str) -> None:
    mount = {"name": "data", "mountPath": "/data"}
    source = {"secretRef": {"name": "settings"}}
    cases: dict[str, Object] = {
        "null": {"volumeMounts": None, "envFrom": None, "env": None},
        "empty": {"volumeMounts": [], "envFrom": [], "env": []},
        "present": {"volumeMounts": [mount], "envFrom": [source], "env": [{"name": "A"}]},
    }
    lists = cases[name]
    pod = make_pod({"name": "web", **lists}, volumes=[{"name": "data", "emptyDir": {}}])
    (container,) = patched(pod)["spec"]["containers"]
    assert container["volumeMounts"] == [*(lists["volumeMounts"] or []), MOUNT]
    assert container["envFrom"] == [SOURCE, *(lists["envFrom"] or [])]
    assert container["env"] == lists["env"]


def test_sources_of_the_user_take_precedence_over_the_variables() -> None:
    """Kubernetes reads sources in order, and `env` after them; the last value of a name counts."""
    user = {"configMapRef": {"name": "their-certificates"}}
    env = [{"name": "SSL_CERT_FILE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
    (container,) = patched(make_pod({"name": "web", "env": env, "envFrom": [user]}))["spec"][
        "containers"
    ]
    assert container["envFrom"] == [SOURCE, user]
    assert container["env"] == env


@pytest.mark.parametrize("variable", sorted(build_variables(NAMES)))
def test_variable_of_the_user_stays_and_is_named_in_a_warning(variable: str) -> None:
    env = [{"name": variable, "value": "theirs"}, {"name": "OTHER", "value": "x"}]
    pod = make_pod({"name": "web", "env": env}, {"name": "plain"})
    injection = inject_raw(pod)
    (warning,) = injection.warnings
    assert variable in warning
    assert "'web'" in warning
    assert NAMES.mount_path in warning
    assert apply_patch(pod, injection.operations)["spec"]["containers"][0]["env"] == env


def _env(**variables: str) -> list[Any]:
    return [{"name": name, "value": value} for name, value in variables.items()]


@pytest.mark.parametrize(
    ("env", "warned"),
    [
        (_env(HTTPS_PROXY="http://proxy:3128"), True),
        (_env(all_proxy="http://proxy:3128", NO_PROXY="localhost, .azure.net"), True),
        (
            _env(https_proxy="http://proxy:3128", NO_PROXY="xlogin.microsoftonline.com,azure.net"),
            True,
        ),
        (
            _env(
                https_proxy="http://proxy:3128", no_proxy=" login.microsoftonline.com, .Azure.net"
            ),
            False,
        ),
        (
            _env(
                HTTPS_PROXY="http://proxy:3128", NO_PROXY="*.microsoftonline.com,*.vault.azure.net"
            ),
            False,
        ),
        (_env(HTTPS_PROXY="http://proxy:3128", NO_PROXY="*"), False),
        ([*_env(HTTPS_PROXY="http://proxy:3128"), {"name": "NO_PROXY", "valueFrom": {}}], False),
        (_env(HTTPS_PROXY=""), False),
        (_env(HTTP_PROXY="http://proxy:3128"), False),
    ],
)
def test_proxy_variable_without_azures_names_in_no_proxy_is_a_warning(
    env: list[Any], warned: bool
) -> None:
    injection = inject_raw(make_pod({"name": "web", "env": env}))
    assert len(injection.warnings) == warned
    for warning in injection.warnings:
        assert "add login.microsoftonline.com,.vault.azure.net to NO_PROXY" in warning
        assert "proxy:3128" not in warning


def test_second_pass_changes_nothing() -> None:
    once = patched(_every_kind())
    assert inject_raw(once).operations == []
    once["spec"]["volumes"][0]["projected"]["defaultMode"] = 420
    assert inject_raw(once).operations == []


def test_container_that_another_webhook_adds_later_is_injected() -> None:
    once = patched(make_pod())
    once["spec"]["containers"].append({"name": "added"})
    paths = {operation["path"] for operation in inject_raw(once).operations}
    assert paths == {"/spec/containers/1/volumeMounts", "/spec/containers/1/envFrom"}


def test_debug_container_of_a_running_pod_is_injected_alone() -> None:
    old = patched(make_pod(ephemeralContainers=[{"name": "first"}]))
    # A debug container from before the webhook cannot be changed.
    old["spec"]["ephemeralContainers"] = [{"name": "first"}]
    new = copy.deepcopy(old)
    new["spec"]["ephemeralContainers"].append({"name": "second"})
    paths = {operation["path"] for operation in inject_raw(new, old).operations}
    assert paths == {
        "/spec/ephemeralContainers/1/volumeMounts",
        "/spec/ephemeralContainers/1/envFrom",
    }


def test_debug_container_of_an_older_pod_is_not_changed_and_its_author_is_warned() -> None:
    old = make_pod()
    injection = inject_raw(make_pod(ephemeralContainers=[{"name": "debug"}]), old)
    assert injection.operations == []
    (warning,) = injection.warnings
    assert "older than podpass cloud" in warning
    assert inject_raw(old, old).warnings == []


def test_other_volume_at_the_path_is_refused() -> None:
    pod = make_pod({"name": "web", "volumeMounts": [{"name": "x", "mountPath": NAMES.mount_path}]})
    with pytest.raises(MountPathTaken, match=r"'web' mounts volume 'x' at /etc/podpass/trust"):
        inject_raw(pod)


@pytest.mark.parametrize(
    "volume",
    [{"emptyDir": {}}, {"projected": {"sources": []}}, {"projected": None}],
    ids=["other", "sources", "null"],
)
def test_other_volume_of_the_name_is_refused(volume: Object) -> None:
    with pytest.raises(VolumeNameTaken, match=NAMES.bundle):
        inject_raw(make_pod(volumes=[{"name": NAMES.bundle, **volume}]))


def test_static_pod_and_windows_pod_are_not_changed() -> None:
    mirror = make_pod()
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "hash"}
    assert inject_raw(mirror).operations == []
    windows = inject_raw(make_pod(os={"name": "windows"}))
    assert windows.operations == []
    assert "Windows" in windows.warnings[0]


def test_work_for_many_containers_is_bounded() -> None:
    many = [{"name": f"c{n}", "env": [{"name": "SSL_CERT_FILE"}]} for n in range(MAX_CONTAINERS)]
    injection = inject_raw(make_pod(*many))
    assert len(injection.operations) == 2 * MAX_CONTAINERS + 1
    assert len(injection.warnings) == MAX_WARNINGS
    with pytest.raises(PatchTooLarge):
        inject_raw(make_pod(*many, {}))


def test_containers_with_equal_or_missing_names_are_all_injected() -> None:
    pod = patched(make_pod({"name": "web"}, {"name": "web"}, {}, {"name": None}))
    assert all(each["volumeMounts"] == [MOUNT] for each in pod["spec"]["containers"])


@pytest.mark.parametrize(
    "container",
    [
        "text",
        {"name": 1},
        {"volumeMounts": {}},
        {"volumeMounts": [None]},
        {"envFrom": "x"},
        {"envFrom": [None]},
        {"env": [None]},
        {"env": {"name": "x"}},
    ],
    ids=["text", "name", "mounts", "mount", "sources", "source", "variable", "variables"],
)
def test_malformed_container_is_refused(container: Any) -> None:
    with pytest.raises(MalformedPod):
        inject_raw(make_pod(container))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "env", "envFrom", "configMapRef"]), inner)
    ),
    max_leaves=8,
)
_CONTAINER = st.dictionaries(
    st.sampled_from(["name", "env", "envFrom", "volumeMounts", "image"]), _JSON
)
_LISTS = st.none() | st.lists(_CONTAINER, max_size=3) | _JSON


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*GROUPS, "volumes", "os"), _LISTS)))
def test_any_pod_is_refused_or_changed_once(spec: Object) -> None:
    pod = {"metadata": {"name": "app"}, "spec": spec}
    try:
        injection = inject_raw(pod)
    except PodRefused:
        return
    changed = apply_patch(pod, injection.operations)
    assert inject_raw(changed).operations == []
    for group in (*GROUPS, "volumes"):
        assert len(changed["spec"].get(group) or []) >= len(spec.get(group) or [])
