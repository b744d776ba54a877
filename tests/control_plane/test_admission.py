"""`podpass webhook` with a real API server: warnings, the audit log, and validation of the mutated pod."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import trustme

from podpass import names
from podpass.admission import webhook_configuration as registration
from podpass.lab.cluster.registration import webhook_configuration
from tests.control_plane import plane
from tests.control_plane.pod_naming_webhook import LABEL, PodNamingWebhook
from tests.control_plane.pod_naming_webhook import NAME as NAMED
from tests.lab.instance.kubectl import Kubectl, binaries
from tests.run_program import Done, run_text
from tests.servers.webhook.running import Webhook

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CUSTOM = "custom"
POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create]
  resources: [{group: "", resources: [pods]}]
- level: None
"""
# A beta feature that is off by default: without it the API server drops the volume source without an error.
BUNDLES = (
    "--runtime-config=certificates.k8s.io/v1beta1=true",
    "--feature-gates=ClusterTrustBundle=true,ClusterTrustBundleProjection=true",
)


class AdmissionTestbed:
    """A shared API server with the webhook, and the kubectl commands of a user."""

    def __init__(self, kubectl: Kubectl, webhook: Webhook, audit: Path) -> None:
        self.kubectl, self.webhook, self._audit = kubectl, webhook, audit

    @property
    def ca_pem(self) -> bytes:
        return bytes(self.webhook.ca.cert_pem.bytes())

    @property
    def address(self) -> str:
        return self.webhook.url.removesuffix(names.WEBHOOK_PATH)

    def apply(self, thing: Any, *arguments: str) -> Done:
        return run_text(
            [self.kubectl.binary, "apply", "-f", "-", *arguments],
            env=self.kubectl.environ,
            input=json.dumps(thing),
            timeout=60,
        )

    def apply_checked(self, thing: Any, *arguments: str) -> Any:
        """Apply a pod, which must succeed; return the stored pod."""
        done = self.apply(thing, "-o", "json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def audited(self, name: str) -> dict[str, str]:
        """Return the audit annotations of the last created pod with this text in its name."""
        last = json.loads(self._audit.read_text().splitlines()[-1])
        assert last["responseStatus"]["code"] == 201
        assert last["objectRef"].get("name", name) == name
        return dict(last.get("annotations") or {})


@contextmanager
def _serving(folder: Path, kubectl: Kubectl, **environ: str) -> Iterator[Webhook]:
    (folder / "webhook").mkdir()
    webhook = Webhook(folder / "webhook", trustme.CA(), kubectl.kubeconfig)
    webhook.environ |= environ
    webhook.write_certificate()
    try:
        webhook.start(
            custom_token_endpoint_annotation_suffix=CUSTOM,
            custom_token_endpoint_audience="api://custom",
        )
        yield webhook
    finally:
        webhook.stop()


@pytest.fixture(scope="module")
def admission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdmissionTestbed]:
    binary = next((path for path in binaries().values() if path), "")
    if not binary:
        pytest.skip("there is no kubectl on this machine")
    place = tmp_path_factory.mktemp("admission")
    (place / "policy.yaml").write_text(POLICY)
    audit = place / "audit.log"
    more = [f"--audit-policy-file={place / 'policy.yaml'}", f"--audit-log-path={audit}", *BUNDLES]
    with ExitStack() as stack:
        running = stack.enter_context(plane.running(place / "data", more))
        kubectl = Kubectl(binary=binary, kubeconfig=running.kubeconfig, home=place)
        signer = {"AZURE_KUBERNETES_CA_CTB_SIGNER_NAME": "example.com/custom"}
        selector = {"matchLabels": {"podpass": "yes"}}
        signer |= {"AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR": json.dumps(selector)}
        images = {"PROXY_IMAGE": "podpass-proxy:test", "PROXY_INIT_IMAGE": "podpass-init:test"}
        webhook = stack.enter_context(_serving(place, kubectl, **signer, **images))
        found = AdmissionTestbed(kubectl, webhook, audit)
        _register(found)
        yield found


def _register(admission: AdmissionTestbed) -> None:
    """Create the accounts, register the webhook, and wait until the API server calls it."""
    kubectl = admission.kubectl
    for name, client in (("web", CLIENT), ("odd", "no-guid")):
        kubectl("create", "serviceaccount", name)
        kubectl("annotate", "serviceaccount", name, f"{names.CLIENT_ID}={client}")
    both = webhook_configuration(admission.webhook.url, admission.ca_pem)
    bundle = base64.b64encode(admission.ca_pem).decode()
    advice = {"url": admission.address + names.ADVICE_PATH, "caBundle": bundle}
    both["webhooks"][1:] = [registration.build_advice_entry(advice, ["kube-system"])]
    kubectl("apply", "-f", "-", given=json.dumps(both))
    probe = pod("probe", "odd")
    admission.webhook.until(lambda: "GUID" in admission.apply(probe, "--dry-run=server").stderr)


def pod(name: str, account: str = "web", *, label: bool = True, **annotations: str) -> Any:
    about: dict[str, Any] = {"name": name, "namespace": "default"}
    about["labels"] = {names.USE_LABEL: "true"} if label else {}
    about["annotations"] = {
        names.PREFIX + key.replace("_", "-"): value for key, value in annotations.items()
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {"serviceAccountName": account, "containers": [{"name": "app", "image": "none"}]},
    }


def environ(container: Any) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env", [])}


def test_warnings_are_returned_to_the_user_that_applies_a_pod(admission: AdmissionTestbed) -> None:
    done = admission.apply(pod("warned", "odd"))
    assert done.returncode == 0
    assert "Warning: " in done.stderr
    assert f"{names.CLIENT_ID} = 'no-guid' is not a GUID" in done.stderr


def test_server_side_dry_run_succeeds_and_stores_nothing(admission: AdmissionTestbed) -> None:
    """The API server would refuse a dry run if the configuration declared other side effects."""
    made = admission.apply_checked(pod("dry"), "--dry-run=server")
    assert environ(made["spec"]["containers"][0])[names.ENV_CLIENT_ID] == CLIENT
    assert "NotFound" in admission.kubectl.fails("get", "pod", "dry")


def test_audit_log_contains_the_client_id_of_a_pod(admission: AdmissionTestbed) -> None:
    """API servers drop invalid audit annotation keys; each key must also be set only once for a pod."""
    admission.apply_checked(pod("audited"))
    said = admission.audited("audited")
    assert said[f"{names.WEBHOOK_NAME}/{names.AUDIT_MUTATED}"] == "true"
    assert said[f"{names.WEBHOOK_NAME}/{names.AUDIT_CLIENT_ID}"] == CLIENT


def test_advice_is_returned_only_for_pods_without_the_label(admission: AdmissionTestbed) -> None:
    bare = admission.apply(pod("bare", label=False))
    assert bare.returncode == 0
    assert "Warning: " in bare.stderr
    assert f"lacks the label {names.USE_LABEL}" in bare.stderr
    labelled = admission.apply(pod("labelled"))
    assert (labelled.returncode, labelled.stderr) == (0, "")


def test_refusal_is_shown_to_the_user_and_as_an_event_on_the_controller(
    admission: AdmissionTestbed,
) -> None:
    """The controller creates the pods of a Deployment; the user who scaled it sees the Event."""
    template = pod("unused", service_account_token_expiration="1")
    for member in ("apiVersion", "kind"):
        del template[member]
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": template["metadata"]["labels"]},
        "template": template,
    }
    del template["metadata"]["name"], template["metadata"]["namespace"]
    about = {"name": "refused", "namespace": "default"}
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec}
    assert admission.apply(made).returncode == 0

    def described() -> str:
        return admission.kubectl("describe", "replicaset")

    admission.webhook.until(lambda: names.REFUSED_REASON in described())
    assert names.TOKEN_EXPIRATION in described()
    done = admission.apply(pod("alone", service_account_token_expiration="1"))
    assert done.returncode == 1
    assert f'admission webhook "{names.WEBHOOK_NAME}" denied the request' in done.stderr
    assert "3600" in done.stderr
    admission.kubectl("delete", "deployment", "refused")


def test_api_server_accepts_native_sidecars(admission: AdmissionTestbed) -> None:
    """The API server validates the mutated pod: before 1.29 it does not support native sidecars."""
    wanted = pod("migrating", inject_proxy_sidecar="true", proxy_sidecar_port="8001")
    wanted["spec"]["initContainers"] = [{"name": "own", "image": "none"}]
    spec = admission.apply_checked(wanted)["spec"]
    version = json.loads(admission.kubectl("version", "-o", "json"))["serverVersion"]
    native = int(version["minor"].rstrip("+")) >= 32
    order = [each["name"] for each in spec["initContainers"]]
    sidecar = [names.PROXY_CONTAINER]
    assert order == [*(sidecar if native else []), "own", names.PROXY_INIT_CONTAINER]
    assert [each["name"] for each in spec["containers"]] == [*([] if native else sidecar), "app"]
    assert (spec["initContainers"][0].get("restartPolicy") == "Always") is native


def _restricted_pod(namespace: str, name: str, mode: str) -> Any:
    """Return a pod that requests the sidecar, and itself obeys the profile `restricted`."""
    wanted = pod(name, inject_proxy_sidecar="true")
    wanted["metadata"]["namespace"] = namespace
    wanted["metadata"]["annotations"][names.PROXY_MODE] = mode
    wanted["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return wanted


def test_pod_security_restricted_accepts_the_mode_env_and_refuses_iptables(
    admission: AdmissionTestbed,
) -> None:
    """The real plugin of the API server decides, on the pod that the webhook has changed."""
    kubectl, namespace = admission.kubectl, "restricted"
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    kubectl("create", "serviceaccount", "web", "-n", namespace)
    done = admission.apply(_restricted_pod(namespace, "redirected", "iptables"))
    assert done.returncode == 1
    assert 'violates PodSecurity "restricted:latest"' in done.stderr
    assert f'"{names.PROXY_INIT_CONTAINER}"' in done.stderr
    spec = admission.apply_checked(_restricted_pod(namespace, "unprivileged", "env"))["spec"]
    both = [*spec.get("initContainers", []), *spec["containers"]]
    assert [each["name"] for each in both] == [names.PROXY_CONTAINER, "app"]
    found = environ(both[1])
    assert found[names.ENV_IMDS_HOST] == "http://127.0.0.1:8000"
    assert found[names.ENV_IDENTITY_ENDPOINT] == "http://127.0.0.1:8000/msi/token"


def test_api_server_accepts_the_token_at_both_paths(admission: AdmissionTestbed) -> None:
    wanted = pod("both-paths")
    wanted["metadata"]["annotations"][names.LEGACY_TOKEN_PATH] = "true"
    spec = admission.apply_checked(wanted)["spec"]
    paths = [each["mountPath"] for each in spec["containers"][0]["volumeMounts"]]
    assert {names.MOUNT_PATH, names.LEGACY_MOUNT_PATH} <= set(paths)


def test_api_server_accepts_a_trust_bundle_for_the_custom_endpoint(
    admission: AdmissionTestbed,
) -> None:
    version = json.loads(admission.kubectl("version", "-o", "json"))["serverVersion"]
    if int(version["minor"].rstrip("+")) < 33:
        pytest.skip("trust bundles are beta from 1.33 on")
    spec = admission.apply_checked(pod("custom", use_custom="true"))["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"].startswith(names.VOLUME_PREFIX)]
    token, bundle = volume["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "api://custom"
    assert bundle["clusterTrustBundle"] == {
        "signerName": "example.com/custom",
        "labelSelector": {"matchLabels": {"podpass": "yes"}},
        "path": names.CA_PATH,
        "optional": False,
    }


def test_api_server_accepts_a_config_map_for_the_custom_endpoint(
    admission: AdmissionTestbed, tmp_path: Path
) -> None:
    """The server must accept the mutated pod unchanged."""
    config_map = {"AZURE_KUBERNETES_CA_CONFIGMAP_NAME": "trust"}
    with _serving(tmp_path, admission.kubectl, **config_map) as webhook:
        wanted = pod("mapped", use_custom="true")
        answer = webhook.review(wanted).body["response"]
    steps = json.loads(base64.b64decode(answer["patch"]))
    about = wanted["metadata"]
    about["labels"] = {}
    about["name"] = "mapped"
    spec = admission.apply_checked(jsonpatch.apply_patch(wanted, steps))["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"].startswith(names.VOLUME_PREFIX)]
    assert volume["projected"]["sources"][1]["configMap"] == {
        "name": "trust",
        "items": [{"key": "ca.crt", "path": names.CA_PATH}],
        "optional": False,
    }


def test_pod_changed_by_another_webhook_has_one_volume_in_every_container(
    admission: AdmissionTestbed,
) -> None:
    """The server calls the webhook again and accepts the result; it would refuse two mounts at one path."""
    wanted = pod("unused")
    about = wanted["metadata"]
    del about["name"]
    about["generateName"] = "widened-"
    about["labels"] |= LABEL

    def create(*arguments: str) -> Any:
        given = json.dumps(wanted)
        return json.loads(
            admission.kubectl("create", "-f", "-", "-o", "json", *arguments, given=given)
        )

    with PodNamingWebhook(admission.kubectl, admission.webhook.folder) as other:
        admission.webhook.until(lambda: create("--dry-run=server") and other.asked)
        made = create()
    assert made["metadata"]["name"] == NAMED
    containers = made["spec"]["containers"]
    assert [each["name"] for each in containers] == ["app", "late"]
    for each in containers:
        assert environ(each)[names.ENV_CLIENT_ID] == CLIENT
        paths = [mount["mountPath"] for mount in each["volumeMounts"]]
        assert paths.count(names.MOUNT_PATH) == 1
    reserved = [v for v in made["spec"]["volumes"] if v["name"].startswith(names.VOLUME_PREFIX)]
    assert len(reserved) == 1
    assert admission.audited(NAMED)[f"{names.WEBHOOK_NAME}/{names.AUDIT_MUTATED}"] == "true"
