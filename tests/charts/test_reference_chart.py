"""The literals in `reference.py` equal the reference's own chart and static manifest, from its Go module."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass.manifests import ManifestValues, build_webhook_objects
from tests.charts import reference
from tests.charts.rendering import CHART, NAMESPACE, RELEASE, TENANT, Helm
from tests.programs import built
from tests.run_program import run_text

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]
_MODULE = "github.com/Azure/azure-workload-identity"


@pytest.fixture(scope="module")
def module() -> Path:
    """Return the folder of the reference's sources in Go's module cache."""
    go = shutil.which("go")
    place = built("azwi-webhook").parent / "src"
    if go is None:
        pytest.skip(
            "the reference's chart: the command `go`, which finds its sources, is not installed"
        )
    command = [go, "mod", "download", "-json", _MODULE]
    done = run_text(command, cwd=place, check=True)
    return Path(json.loads(done.stdout)["Dir"])


def test_recorded_objects_equal_the_rendered_chart_of_the_reference(
    helm: Helm, module: Path
) -> None:
    """The upgrade tests must start with the objects that the reference really creates."""
    chart = str(module / "charts" / "workload-identity-webhook")
    command = [helm.binary, "template", RELEASE, chart, "--namespace", NAMESPACE]
    command += ["--set", f"azureTenantID={TENANT}"]
    done = run_text(command, check=True)
    assert _by_name(yaml.safe_load_all(done.stdout)) == _by_name(reference.OBJECTS)


def test_every_value_of_the_references_chart_is_accepted(
    helm: Helm, module: Path, tmp_path: Path
) -> None:
    """The reference's defaults are accepted, except its image and its memory limit."""
    chart = module / "charts" / "workload-identity-webhook"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    del values["image"]["release"], values["resources"]
    values["image"]["repository"] = "registry.example.com/podpass"
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values | {"azureTenantID": TENANT}))
    command = [helm.binary, "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
    done = run_text([*command, "-f", str(file)])
    assert done.returncode == 0, done.stderr


def test_static_manifest_contains_every_object_of_the_references(module: Path) -> None:
    """Our manifest can be applied over the reference's: it has all its objects and the same selectors."""
    text = (module / "deploy" / "azure-wi-webhook.yaml").read_text()
    theirs = {
        (one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text) if one
    }
    image = "image.repository=registry.example.com/podpass"
    values = ManifestValues.from_sets((image,), tenant_id=TENANT, namespace=NAMESPACE)
    ours = {(one["kind"], one["metadata"]["name"]): one for one in build_webhook_objects(values)}
    assert set(theirs) <= set(ours)
    deployment = ("Deployment", "azure-wi-webhook-controller-manager")
    assert ours[deployment]["spec"]["selector"] == theirs[deployment]["spec"]["selector"]
    for binding in ("RoleBinding", "ClusterRoleBinding"):
        name = (binding, "azure-wi-webhook-manager-rolebinding")
        assert ours[name]["roleRef"] == theirs[name]["roleRef"], "it cannot be changed"


def _by_name(objects: Any) -> dict[str, Any]:
    return {f"{one['kind']}/{one['metadata']['name']}": _plain(one) for one in objects if one}


def _plain(value: Any) -> Any:
    """Remove empty members and the default API version of field paths."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    members = {name: _plain(member) for name, member in value.items()}
    if "fieldPath" in members:
        members.pop("apiVersion", None)
    return {name: member for name, member in members.items() if member not in ({}, [], None)}
