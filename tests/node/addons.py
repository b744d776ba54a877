"""Released add-ons that read Azure Key Vault, unchanged, in containers of the node."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.peers.build import (
    SECRETS_STORE_DRIVER,
    SECRETS_STORE_PROVIDER,
    build_program,
    module_folder,
)
from podpass import names
from tests.kubernetes_clients.external_secrets import NAMESPACE, VALUES, copy_chart
from tests.node import images
from tests.node.cloud_installation import Installation
from tests.node.node import Node
from tests.node.programs import find

PROVIDER_NAMESPACE = "secrets-store"
CSI_DRIVER = "secrets-store.csi.k8s.io"
_GREETING = "array: ['{objectName: greeting, objectType: secret}']"
# The three views of a certificate.
CERTIFICATE = """array:
- '{objectName: www, objectType: cert, objectAlias: www.crt}'
- '{objectName: www, objectType: key, objectAlias: www.pub}'
- '{objectName: www, objectType: secret, objectAlias: www.pem}'
"""
_REPOSITORY, _TAG = "podpass.test", "v1"
_ROTATION = {
    "--enable-secret-rotation=false": "--enable-secret-rotation=true",
    "--rotation-poll-interval=2m": "--rotation-poll-interval=5s",
}
_PLUGIN = "/var/lib/kubelet/plugins/csi-secrets-store/csi.sock"


def import_program(node: Node, program: str, tools: Iterable[str] = (), user: str = "") -> str:
    """Import an image of one Go program, with tools of this machine; return its name. Raises CannotBuild."""
    programs = {f"/{program}": build_program(program)}
    for tool in tools:
        path = find(tool)
        assert path is not None, f"{tool} is not installed"
        programs[f"/usr/bin/{tool}"] = Path(path).resolve()
    folder, name = node.sandbox.folder, f"{_REPOSITORY}/{program}:{_TAG}"
    image = images.Image(
        name=name,
        layers=[images.program_layer(folder / f"{program}.layer", programs)],
        command=[f"/{program}"],
        user=user or images.USER,
        variables={"PATH": "/usr/bin"},
    )
    archive = images.write_archive(image, folder / f"{program}.tar")
    node.import_image(archive)
    for file in (archive, *map(Path, image.layers)):
        file.unlink()
    return name


def install_external_secrets(cloud: Installation) -> None:
    """Install the operator by its own chart into a namespace whose pods trust the cloud.

    Raises CannotBuild.
    """
    node = cloud.node
    repository, _, tag = import_program(node, "external-secrets").rpartition(":")
    chart = copy_chart(node.sandbox.folder / "external-secrets")
    node.kubectl("create", "namespace", NAMESPACE)
    cloud.podpass("install", f"--for={NAMESPACE}", "--timeout=280")
    sets = ("--set", f"image.repository={repository},image.tag={tag}")
    where = ("-n", NAMESPACE, "--wait", "--timeout", "300s")
    node.helm("install", "external-secrets", str(chart), *VALUES, *sets, *where)


def vault_provider(account: str, tenant_id: str) -> dict[str, Any]:
    """Return the provider of a SecretStore: the vault of the seed, by the identity of a ServiceAccount."""
    return {
        "azurekv": {
            "vaultUrl": "https://demo-vault.vault.azure.net",
            "tenantId": tenant_id,
            "authType": "WorkloadIdentity",
            "serviceAccountRef": {"name": account},
        }
    }


def install_secrets_store(cloud: Installation) -> list[dict[str, Any]]:
    """Install the CSI driver and its Azure provider by their own manifests; return the objects.

    Raises CannotBuild.
    """
    node = cloud.node
    pictures = {
        "secrets-store": import_program(
            node, "secrets-store-driver", tools=("mount", "umount"), user="0:0"
        ),
        "node-driver-registrar": import_program(node, "plugin-registrar", user="0:0"),
        "provider-azure-installer": import_program(node, "secrets-store-provider", user="0:0"),
    }
    node.kubectl("create", "namespace", PROVIDER_NAMESPACE)
    cloud.podpass("install", f"--for={PROVIDER_NAMESPACE}", "--timeout=280")
    objects = [*_driver_objects(pictures), *_provider_objects(pictures)]
    node.apply(*objects)
    for each in objects:
        if each["kind"] == "DaemonSet":
            about = each["metadata"]
            node.wait_for(
                *("rollout", "status", "-n", about["namespace"], f"daemonset/{about['name']}"),
                seconds=300,
            )
    return objects


def _driver_objects(pictures: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    folder = module_folder("secrets-store-driver", SECRETS_STORE_DRIVER) / "deploy"
    for name in (
        *("secrets-store.csi.x-k8s.io_secretproviderclasses.yaml",),
        *("secrets-store.csi.x-k8s.io_secretproviderclasspodstatuses.yaml",),
        *("rbac-secretproviderrotation.yaml", "rbac-secretprovidertokenrequest.yaml"),
        *("rbac-secretproviderclass.yaml", "csidriver.yaml", "secrets-store-csi-driver.yaml"),
    ):
        for item in yaml.safe_load_all((folder / name).read_text()):
            if item["kind"] == "CSIDriver":
                # The value `tokenRequests` of its chart: the kubelet passes the pod's token to the driver.
                item["spec"]["tokenRequests"] = [{"audience": names.EXCHANGE_AUDIENCE}]
            if item["kind"] == "DaemonSet":
                _adapt_driver(item["spec"]["template"]["spec"], pictures)
            yield item


def _adapt_driver(pod: dict[str, Any], pictures: Mapping[str, str]) -> None:
    """Select the images, enable rotation, and leave out what a node does not need.

    These are the probe of its sidecar, and the old folder of providers in /etc.
    """
    pod["containers"] = [each for each in pod["containers"] if each["name"] in pictures]
    for container in pod["containers"]:
        container["image"] = pictures[container["name"]]
        container.pop("livenessProbe", None)
        container["args"] = [_ROTATION.get(each, each) for each in container["args"]]
        if container["name"] == "node-driver-registrar":
            socket = f"/registration/{CSI_DRIVER}-reg.sock"
            container["args"] = [f"-name={CSI_DRIVER}", f"-endpoint={_PLUGIN}", f"-socket={socket}"]
    for volume in pod["volumes"]:
        if volume["name"] == "providers-dir":
            del volume["hostPath"]
            volume["emptyDir"] = {}


def _provider_objects(pictures: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    folder = module_folder("secrets-store-provider", SECRETS_STORE_PROVIDER) / "deployment"
    text = (folder / "provider-azure-installer.yaml").read_text()
    for item in yaml.safe_load_all(text):
        item["metadata"]["namespace"] = PROVIDER_NAMESPACE
        if item["kind"] == "DaemonSet":
            pod = item["spec"]["template"]["spec"]
            # On the network of the node, pods ask the cluster's DNS only with this policy.
            pod["dnsPolicy"] = "ClusterFirstWithHostNet"
            (container,) = pod["containers"]
            container["image"] = pictures[container["name"]]
        yield item


def provider_class(
    tenant_id: str, client_id: str, name: str = "demo-vault", objects: str = _GREETING
) -> dict[str, Any]:
    """Return a SecretProviderClass for objects of the vault, by workload identity."""
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "provider": "azure",
            "parameters": {
                "keyvaultName": "demo-vault",
                "clientID": client_id,
                "tenantId": tenant_id,
                "objects": objects,
            },
        },
    }


def mounting_pod(
    name: str, container: dict[str, Any], account: str = "web", provider: str = "demo-vault"
) -> dict[str, Any]:
    """Return a pod with the objects of a SecretProviderClass as files below /mnt/secrets."""
    mount = {"name": "secrets", "mountPath": "/mnt/secrets", "readOnly": True}
    volume = {
        "name": "secrets",
        "csi": {
            "driver": CSI_DRIVER,
            "readOnly": True,
            "volumeAttributes": {"secretProviderClass": provider},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "containers": [{**container, "volumeMounts": [mount]}],
            "volumes": [volume],
        },
    }
