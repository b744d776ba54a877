"""The reference's own chart and static manifest, from its module: what is written down here of them is so."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.peers.build import CannotBuild, built
from podpass.manifests import Values, webhook
from tests.charts import reference
from tests.charts.rendering import CHART, NAMESPACE, RELEASE, TENANT, Helm

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]
_MODULE = "github.com/Azure/azure-workload-identity"


@pytest.fixture(scope="module")
def module() -> Path:
    """Give the folder of the reference's sources, as Go keeps them since its webhook was built."""
    go = shutil.which("go")
    try:
        place = built("azwi-webhook").parent / "src"
    except CannotBuild as exc:
        pytest.skip(f"the reference's chart: {exc}")
    if go is None:
        pytest.skip("the reference's chart: there is no `go` that says where its sources are")
    command = [go, "mod", "download", "-json", _MODULE]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])


def test_what_is_written_down_of_its_chart_is_what_it_renders(helm: Helm, module: Path) -> None:
    """Fails if the upgrade in place is tried with objects that the reference does not have."""
    chart = str(module / "charts" / "workload-identity-webhook")
    command = [helm.binary, "template", RELEASE, chart, "--namespace", NAMESPACE]
    command += ["--set", f"azureTenantID={TENANT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert _by_name(yaml.safe_load_all(done.stdout)) == _by_name(reference.OBJECTS)


def test_every_value_of_its_chart_is_one_of_ours(helm: Helm, module: Path, tmp_path: Path) -> None:
    """Its defaults, written out, but for the image and the memory that are for another program."""
    chart = module / "charts" / "workload-identity-webhook"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    del values["image"]["repository"], values["image"]["release"], values["resources"]
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values | {"azureTenantID": TENANT}))
    command = [helm.binary, "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
    done = subprocess.run([*command, "-f", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_its_static_manifest_has_no_object_that_ours_lacks(module: Path) -> None:
    """Fails if ours, applied over it, would leave one behind or could not be applied: selectors stay."""
    text = (module / "deploy" / "azure-wi-webhook.yaml").read_text()
    theirs = {
        (one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text) if one
    }
    values = Values.from_sets((), tenant_id=TENANT, namespace=NAMESPACE)
    ours = {(one["kind"], one["metadata"]["name"]): one for one in webhook(values)}
    assert set(theirs) <= set(ours)
    deployment = ("Deployment", "azure-wi-webhook-controller-manager")
    assert ours[deployment]["spec"]["selector"] == theirs[deployment]["spec"]["selector"]
    for binding in ("RoleBinding", "ClusterRoleBinding"):
        name = (binding, "azure-wi-webhook-manager-rolebinding")
        assert ours[name]["roleRef"] == theirs[name]["roleRef"], "it cannot be changed"


def _by_name(objects: Any) -> dict[str, Any]:
    return {f"{one['kind']}/{one['metadata']['name']}": _plain(one) for one in objects if one}


def _plain(value: Any) -> Any:
    """Leave out what says nothing: empty members, and the version that a field's path has anyway."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    members = {name: _plain(member) for name, member in value.items()}
    if "fieldPath" in members:
        members.pop("apiVersion", None)
    return {name: member for name, member in members.items() if member not in ({}, [], None)}
