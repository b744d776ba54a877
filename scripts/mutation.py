"""Mutation tests of the exchange: change one line at a time, in a copy; find changes that no test detects.

Each module has a few fast tests here, so that one change takes a second or less. tests/vectors/survivors.toml
explains why a surviving change is harmless; for every other survivor a test is missing. `--page` writes
docs/contribute/mutation.md from the last results.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".cache" / "mutation"
RESULTS = WORK / "results"
ATTACKS = "tests/exchange/attacks/test_"
EXCHANGE = "tests/exchange/client_auth/test_"
MODULES: dict[str, tuple[str, list[str]]] = {
    "jose": ("crypto/jose.py", ["tests/crypto/test_jose.py"]),
    "match": ("exchange/client_auth/match.py", ["tests/exchange/client_auth/test_match.py"]),
    "certificate": (
        "exchange/client_auth/certificate.py",
        ["tests/exchange/client_auth/test_credential_checks.py"],
    ),
    "client_secret": (
        "exchange/client_auth/client_secret.py",
        [f"{ATTACKS}22_compare.py", "tests/exchange/client_auth/test_credential_checks.py"],
    ),
    "scope": (
        "exchange/scope.py",
        [f"{ATTACKS}19_resources.py", "tests/exchange/client_auth/test_match.py"],
    ),
    "grant": ("exchange/access_token.py", ["tests/exchange/test_access_token.py"]),
    "key_schedule": (
        "exchange/signing/schedule.py",
        [
            "tests/exchange/signing/test_schedule.py",
        ],
    ),
    "limits": (
        "exchange/rate_limits.py",
        ["tests/exchange/test_rate_limits.py"],
    ),
    "assertion": (
        "exchange/client_auth/assertion.py",
        ["tests/exchange/client_auth/test_assertion.py"],
    ),
    "issuers": (
        "exchange/client_auth/issuer_keys.py",
        ["tests/exchange/client_auth/test_issuer_keys.py"],
    ),
    "issuer_documents": (
        "exchange/client_auth/issuer_discovery.py",
        ["tests/exchange/client_auth/test_issuer_discovery.py"],
    ),
    "fetch": (
        "http/fetcher.py",
        [
            "tests/http/test_fetcher.py",
            "tests/http/test_fetcher_private.py",
        ],
    ),
    "lookup": (
        "exchange/client_auth/directory_lookup.py",
        [
            "tests/exchange/client_auth/test_directory_lookup.py",
            f"{ATTACKS}14_client.py",
            f"{ATTACKS}20_tenants.py",
        ],
    ),
    "uniform": ("exchange/uniform.py", [f"{ATTACKS}21_oracle.py"]),
    "own_token": (
        "exchange/client_auth/managed_identity_assertion.py",
        [f"{EXCHANGE}managed_identity_assertion.py", f"{EXCHANGE}authenticator.py"],
    ),
    "proof": (
        "exchange/client_auth/authenticator.py",
        [
            "tests/exchange/client_auth/test_credential_checks.py",
            "tests/exchange/client_auth/test_authenticator.py",
        ],
    ),
    "verify": (
        "exchange/client_credentials.py",
        [
            "tests/exchange/test_settings.py",
            f"{ATTACKS}19_resources.py",
            f"{ATTACKS}20_tenants.py::test_multi_tenant_names_are_refused",
            "tests/exchange/test_roles_and_delay.py",
            "tests/exchange/test_clouds.py",
            f"{EXCHANGE}managed_identity_assertion.py",
        ],
    ),
    "wire": (
        "exchange/token_request.py",
        [
            "tests/exchange/test_token_request.py",
            "tests/exchange/test_app.py::test_error_has_every_member_that_clients_read",
        ],
    ),
}
# Lines that only contain a message or a log field: no decision depends on them.
_SAID = re.compile(
    r'(raise |\w+ = Refused\(|reason=|cause=|_log\.|extra=|facts|f?"[^"]* [^"]*"([,)]*$|, reason=))'
)
# The numbers of refusals: clients decide by them.
_NUMBER = re.compile(r"\b\d{4,}\b")
# The exit codes of a run for one change: a test failed, no test failed, no test covers it; otherwise timeout.
_VERDICTS = {1: "killed", 3: "killed", 0: "survived", 33: "untested", 5: "untested"}
_LEFT = (0, 5, 33)
Result = dict[str, Any]


def prepare(name: str) -> Path:
    """Copy the tree and configure which module mutmut changes and which tests it runs."""
    file, tests = MODULES[name]
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in ("src/podpass", "tests", "examples"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", folder)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/podpass/{file}"],
        "also_copy": ["src", "examples", "README.md"],
        # mutmut limits the time of a mutation by itself.
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=0"],
        "pytest_add_cli_args_test_selection": tests,
        "timeout_constant": 8.0,
        "use_git_change_detection": False,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    text = (ROOT / "pyproject.toml").read_text() + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n"
    (folder / "pyproject.toml").write_text(text)
    return folder


def mutmut(folder: Path, *words: str) -> str:
    """Run mutmut in a copy and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words],
        cwd=folder,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / ".hypothesis")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def mutate(name: str, children: int) -> Result:
    """Apply all mutations of one module and return those that no test detects.

    Exits if the tests fail without a mutation, or a mutation was not tested.
    """
    folder = prepare(name)
    said = mutmut(folder, "run", "--max-children", str(children))
    (folder / "said.txt").write_text(said)
    if "Failed to run clean test" in said:
        sys.exit(f"{name}: its tests fail without a change:\n{said[-2000:]}")
    return collect(name, folder)


def collect(name: str, folder: Path) -> Result:
    """Read the result of each mutation, and the mutations that no test detected."""
    source = f"src/podpass/{MODULES[name][0]}"
    verdicts = json.loads((folder / "mutants" / f"{source}.meta").read_text())["exit_code_by_key"]
    counted = {"killed": 0, "survived": 0, "timeout": 0, "untested": 0}
    if None in verdicts.values():
        sys.exit(f"{name}: mutmut stopped before its end; see {folder / 'said.txt'}")
    for code in verdicts.values():
        counted[_VERDICTS.get(code, "timeout")] += 1
    left = [mutant for mutant, code in verdicts.items() if code in _LEFT]
    result: Result = {"module": name, "file": MODULES[name][0], **counted}
    result["survivors"] = [
        {"function": function_of(mutant), **difference(shown)}
        for mutant, shown in zip(left, differences(folder, source, left), strict=True)
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1))
    return result


def differences(folder: Path, source: str, mutants: list[str]) -> list[str]:
    """Return the diffs of changes in one process, because mutmut parses the module for each command."""
    program = (
        "import json, sys\n"
        "from mutmut.mutation.diff_apply import get_diff_for_mutant as diff\n"
        "names = json.loads(sys.stdin.read())\n"
        "print(json.dumps([diff(name, path=sys.argv[1]) for name in names]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, source],
        cwd=folder,
        input=json.dumps(mutants),
        capture_output=True,
        text=True,
        check=True,
    )
    shown: list[str] = json.loads(done.stdout)
    return shown


def function_of(mutant: str) -> str:
    """Convert `podpass.x.xǁClassǁmethod__mutmut_3` to `Class.method`."""
    last = mutant.rpartition(".")[2].partition("__mutmut_")[0]
    return last.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")


def difference(shown: str) -> dict[str, str]:
    """Return the changed lines of a diff."""
    lines = [line for line in shown.splitlines() if not line.startswith(("---", "+++", "#"))]
    old = "\n".join(line[1:].strip() for line in lines if line.startswith("-"))
    new = "\n".join(line[1:].strip() for line in lines if line.startswith("+"))
    return {"old": old, "new": new}


def find_explanation(survivor: dict[str, str], known: list[dict[str, Any]], module: str) -> str:
    """Return why a survivor is harmless; empty if there is no explanation."""
    same = [_NUMBER.findall(survivor[side]) for side in ("old", "new")]
    if same[0] == same[1] and all(_SAID.match(line) for line in survivor["old"].splitlines()):
        return "text"
    for each in known:
        fits = (
            each["module"] == module
            and each.get("function", survivor["function"]) == survivor["function"]
        )
        if (
            fits
            and each.get("old", "") in survivor["old"]
            and each.get("new", "") in survivor["new"]
        ):
            return str(each["why"])
    return ""


def known() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = tomllib.loads(
        (ROOT / "tests/vectors/survivors.toml").read_text()
    )["known"]
    return listed


def format_result(result: Result, reasons: list[dict[str, Any]]) -> str:
    """Return one module's row, and its survivors without an explanation."""
    given = [find_explanation(each, reasons, result["module"]) for each in result["survivors"]]
    text, open_ones = given.count("text"), given.count("")
    total = sum(result[kind] for kind in ("killed", "survived", "timeout", "untested"))
    caught = result["killed"] + result["timeout"]
    return (
        f"| `{result['file']}` | {total} | {caught} | {text} | {100 * caught / (total - text):.0f} % "
        f"| {len(given) - text - open_ones} | {open_ones} |"
    )


def page() -> str:
    """Write docs/contribute/mutation.md."""
    reasons = known()
    results = [
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in MODULES
        if (RESULTS / f"{name}.json").exists()
    ]
    lines = [
        "# Mutation tests of the exchange\n",
        "<!-- generated by `scripts/mutation.py --page` from its last run -->\n",
        "`make mutation` changes every function of these modules in every way that mutmut supports,",
        "one change at a time, and runs the module's own fast tests. A mutation is killed if a test",
        "fails. `text only` changes a message or a log field, on which no decision depends. Every",
        "other survivor is explained, or a test is missing. The [attacks](attacks.md), the whole-path",
        "tests and `make rules` find more than this table counts. Functions with a decorator and code",
        "outside functions are not mutated.\n",
        "| module | mutations | killed | text only | killed of others | explained | not explained |",
        "|---|---|---|---|---|---|---|",
        *(format_result(result, reasons) for result in results),
        *_missing(),
        "\n`tests/vectors/survivors.toml` says of each survivor why it is harmless.",
    ]
    return "\n".join(lines) + "\n"


def _missing() -> list[str]:
    left = [
        f"`{file}`"
        for name, (file, _) in MODULES.items()
        if not (RESULTS / f"{name}.json").exists()
    ]
    return [f"\nNot in the last run: {', '.join(left)}."] if left else []


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("`", "'")
    return line if len(line) <= 90 else line[:90] + "..."


def main() -> None:
    """Mutate the given modules, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--read", action="store_true", help="use the results of the last run")
    asked = parser.parse_args()
    for name in asked.modules or ([] if asked.page else list(MODULES)):
        result = collect(name, WORK / name) if asked.read else mutate(name, asked.children)
        print(format_result(result, known()), flush=True)
        for each in result["survivors"]:
            if not find_explanation(each, known(), name):
                print(
                    f"    {each['function']}: {_short(each['old'])}  ->  {_short(each['new'])}",
                    flush=True,
                )
    if asked.page:
        (ROOT / "docs/contribute/mutation.md").write_text(page())


if __name__ == "__main__":
    main()
