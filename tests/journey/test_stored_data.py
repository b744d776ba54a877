"""Data that an earlier commit stored opens as before: a data directory, and a database of a token service."""

import json
import signal
import sqlite3
import tarfile
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trustme
import yaml
from jwt import get_unverified_header

from tests.lab.instance.instances import Podpass
from tests.servers.authority.running import Authority

pytestmark = pytest.mark.processes

STORED = Path(__file__).parents[1] / "vectors" / "stored"
SEED = STORED / "seed.yaml"
WEB, BATCH = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-aaaaaaaaaaaa"
READ_SECRET = """
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient
client = SecretClient("https://demo-vault.vault.azure.net/", WorkloadIdentityCredential())
print("value", client.get_secret("greeting").value)
"""
POD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: reader, labels: {{azure.workload.identity/use: "true"}}}}
spec:
  serviceAccountName: web
  restartPolicy: Never
  containers:
  - {{name: reader, image: python, command: [python, -c, {json.dumps(READ_SECRET)}]}}
"""


def _extract(name: str, folder: Path) -> Path:
    with tarfile.open(STORED / name) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_pod_reads_the_stored_secret_by_the_stored_credential(tmp_path: Path) -> None:
    podpass = Podpass(_extract("instance.tar.xz", tmp_path / "data"))
    before = json.loads((podpass.data_dir / "instance.json").read_text())
    with ExitStack() as stack:
        podpass.up()
        stack.callback(podpass, "down")

        identities = json.loads(podpass("identity", "list", "-o", "json").stdout)
        assert {"web": WEB, "batch": BATCH}.items() <= {
            one["name"]: one["client_id"] for one in identities
        }.items()
        applied = podpass("apply", "-f", str(SEED))
        assert "created" not in applied.stdout + applied.stderr
        kept = podpass(
            "run", "--", "kubectl", "get", "configmap", "kept", "-o", "jsonpath={.data.word}"
        )
        assert kept.stdout == "kept"
        podpass("run", "--", "kubectl", "apply", "-f", "-", input=POD)
        podpass(
            *("run", "--", "kubectl", "wait", "--timeout=60s", "pod/reader"),
            "--for=jsonpath={.status.phase}=Succeeded",
        )
        assert podpass("run", "--", "kubectl", "logs", "reader").stdout.strip() == "value hello"
    after = json.loads((podpass.data_dir / "instance.json").read_text())
    assert {k: v for k, v in after.items() if k != "ports"} == {
        k: v for k, v in before.items() if k != "ports"
    }


def test_token_service_signs_with_the_stored_key_for_a_stored_application(tmp_path: Path) -> None:
    authority = Authority(folder=_extract("authority.tar.xz", tmp_path), ca=trustme.CA())
    authority.write_certificate()
    with closing(sqlite3.connect(tmp_path / "authority.db")) as database:
        stored_keys = {key for (key,) in database.execute("SELECT kid FROM authority_keys")}
    seed = yaml.safe_load(SEED.read_text())
    for section in ("vaults", "storage_accounts", "dns_zones", "targets"):
        del seed[section]
    (tmp_path / "seed.yaml").write_text(yaml.safe_dump(seed))
    with ExitStack() as stack:
        stack.callback(authority.stop, signal.SIGKILL)
        authority.start(workers=1)
        answer = authority.request_token()
        again = authority.command(
            *("seed", "-f", str(tmp_path / "seed.yaml"), "--database", authority.database),
            *("--cluster-issuer", "https://oidc.example.com/"),
        )

    assert get_unverified_header(answer.body["access_token"])["kid"] in stored_keys
    assert (again.returncode, "created" in again.stdout) == (0, False)
