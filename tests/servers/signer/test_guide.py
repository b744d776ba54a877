"""The guide names every setting, metric and log event of the issuer and its signer."""

import re
from dataclasses import fields
from pathlib import Path

from podpass.assertion.publishing import config
from podpass.assertion.publishing.plan import RotationStep
from podpass.servers.signer.keys import FolderKeySource
from podpass.servers.signer.signer import SignerMetrics
from tests.assertion.publishing import issuer as issuers

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/operate/own-cluster.md").read_text()


def test_guide_lists_the_settings() -> None:
    settings = config.document(config.IssuerConfig(issuer="a", target="b"))
    assert len(settings) == len(fields(config.IssuerConfig)) + 2
    rows = "\n".join(line.split("|")[1] for line in GUIDE.splitlines() if line.startswith("|"))
    assert not [name for name in settings if f"`{name}`" not in rows]


def test_guide_lists_the_steps_in_their_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE)
    steps = [step.value for step in RotationStep]
    assert [row for row in rows if row in steps] == steps


def test_guide_lists_the_metrics(tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer")
    text = SignerMetrics(FolderKeySource(issuer.folder, issuer.clock)).render().decode()
    found = set(re.findall(r"^(podpass_\w+?)(?:_total|_created)?[{ ]", text, re.MULTILINE))
    assert len(found) == 4
    assert not [name for name in found if f"| `{name}` |" not in GUIDE]


def test_guide_lists_the_warnings() -> None:
    code = "".join(path.read_text() for path in (ROOT / "src/podpass/servers/signer").glob("*.py"))
    events = set(re.findall(r'_log\.warning\(\s*"(\w+)"', code))
    assert events == {"signer_keys_read_failed", "signer_request_refused"}
    assert not [event for event in events if f"| `{event}` |" not in GUIDE]
