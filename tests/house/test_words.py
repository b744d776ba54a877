"""What the tree may not contain: vague module names, paths of one machine, hosts of registries."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
VAGUE = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
# Spelt in pieces, so that this file does not contain what it looks for.
HOSTS = re.compile(
    r"\b("
    + "|".join(
        name.replace("_", r"\.")
        for name in (
            "pypi_" + "org",
            "pythonhosted_" + "org",
            "registry_npmjs_" + "org",
            "proxy_golang_" + "org",
            "repo_maven_apache_" + "org",
        )
    )
    + r")\b"
)
PATHS = re.compile(r"(^|[\s\"'=:(])/(" + "work|farm" + r"|root)/")


def _tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_folder_or_file_has_a_name_that_says_nothing() -> None:
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in _tracked()}
    assert not [path for path, names in parts.items() if VAGUE.intersection(names)]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for path in _tracked():
        if path.suffix in {".json", ".lock", ".sum"}:
            continue
        text = path.read_text(errors="replace")
        if HOSTS.search(text) or PATHS.search(text):
            found.append(str(path.relative_to(ROOT)))
    assert not found
