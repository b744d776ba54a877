"""The events of the tutorial script, and the check of its results."""

import subprocess
from pathlib import Path

import pytest

from podpass.lab.cluster.samples import examples
from podpass.lab.tutorial.model import (
    CONNECT,
    MIGRATE,
    CommandEnded,
    CommandStarted,
    Headings,
    find_problems,
    parse_events,
)
from tests.run_program import run_text

SECRET = '"successfully got secret" secret="Hello!"'


def answer(command: str, out: str = "", code: int = 0) -> CommandEnded:
    return CommandEnded(
        command=CommandStarted(line=1, words=command.split()), code=code, out=out, err=""
    )


def successful_run() -> list[CommandEnded]:
    return [
        answer("az group create"),
        answer("kubectl logs sample", SECRET),
        answer("kubectl run after-it-is-off", "pod/after-it-is-off created"),
        answer("kubectl get pod after-it-is-off", ""),
    ]


def test_successful_run_has_no_problems() -> None:
    assert find_problems(successful_run()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({0: answer("az group create", code=1)}, "`az group create` exited with 1"),
        ({1: answer("kubectl logs sample", "failed")}, "does not contain the secret"),
        ({3: answer("kubectl get pod after-it-is-off", "[{AZURE_CLIENT_ID}]")}, "still has"),
    ],
)
def test_each_missing_result_is_reported(changed: dict[int, CommandEnded], said: str) -> None:
    answers = [changed.get(number, each) for number, each in enumerate(successful_run())]
    (problem,) = find_problems(answers)
    assert said in problem


def test_script_that_ended_early_has_missing_results() -> None:
    assert len(find_problems([])) == 2


def successful_migration() -> list[CommandEnded]:
    logs = ["web-1", "legacy-1", "web-2", "web-3", "web-4", "web-5", "legacy-2", "legacy-3"]
    without = {"web-1", "legacy-1", "web-4"}
    return [
        answer("podpass migrate scan namespace/default", code=3),
        *(
            answer(
                f"kubectl logs pod/{name} -c app",
                "no secret" if name in without else "x\nsecret: Hello!",
            )
            for name in logs
        ),
        answer("kubectl logs pod/legacy-2 -c azwi-proxy", "x"),
        answer("kubectl get pods --selector aadpodidbinding --output name"),
    ]


def test_successful_migration_has_no_problems() -> None:
    assert find_problems(successful_migration(), MIGRATE) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({0: answer("podpass migrate scan x", code=1)}, "exited with 1"),
        ({3: answer("kubectl logs pod/web-2 -c app", "no secret")}, "read the secret as"),
        ({5: answer("kubectl logs pod/web-4 -c app", "secret: Hello!")}, "read the secret as"),
        (
            {10: answer("kubectl get pods --selector aadpodidbinding", "pod/x")},
            "label of pod identity",
        ),
    ],
)
def test_each_missing_result_of_the_migration_is_reported(
    changed: dict[int, CommandEnded], said: str
) -> None:
    answers = [changed.get(number, each) for number, each in enumerate(successful_migration())]
    (problem,) = find_problems(answers, MIGRATE)
    assert said in problem


def successful_connection() -> list[CommandEnded]:
    return [
        answer("kubectl logs pod/connected", "secret: Hello!\n"),
        answer("az aks connection validate --name c", '[{"result": "success"}]'),
    ]


def test_successful_connection_has_no_problems() -> None:
    assert find_problems(successful_connection(), CONNECT) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({0: answer("kubectl logs pod/connected", "no secret")}, "does not contain the secret"),
        (
            {1: answer("az aks connection validate", '"success" "failure"')},
            "check of the connection",
        ),
    ],
)
def test_each_missing_result_of_the_connection_is_reported(
    changed: dict[int, CommandEnded], said: str
) -> None:
    answers = [changed.get(number, each) for number, each in enumerate(successful_connection())]
    (problem,) = find_problems(answers, CONNECT)
    assert said in problem


def test_command_belongs_to_the_heading_above_it() -> None:
    headings = Headings("#!/bin/sh\n## One\na\n# no heading\nb\n## Two\nc\n")
    assert [headings.heading_of(line) for line in (1, 3, 5, 7)] == ["", "One", "One", "Two"]


def test_script_events_contain_commands_and_their_output(tmp_path: Path) -> None:
    """The real shell, with a fake az and a fake kubectl."""
    for name, body in {"az": 'echo "$# $2"; echo talk >&2; exit 3', "kubectl": "cat"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = tmp_path / "script.sh"
    script.write_text(
        "## Step\naz show 'two words' || true\nprintf 'a\\nb\\n' | kubectl apply -f -\n"
        'echo "got $(kubectl get <<<x)"\n'
    )
    recorder = examples.find_example("tutorial") / "record.sh"
    done = run_text(
        ["bash", "-c", 'exec 3>"$3"; . "$1"; . "$2"', "-", recorder, script, tmp_path / "events"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
    )
    assert done.stdout == "2 two words\na\nb\ngot x\n"
    texts = (tmp_path / "events").read_text().split("\0")[:-1]
    seen = list(parse_events(iter(texts)))
    assert [each.line for each in seen if isinstance(each, CommandStarted)] == [2, 3, 4]
    assert str(seen[0]) == "az show 'two words'"
    first = seen[1]
    assert isinstance(first, CommandEnded)
    assert (first.code, first.out, first.err) == (3, "2 two words", "talk")


@pytest.mark.parametrize("name", ["tutorial", "migrate", "connect"])
def test_bash_parses_the_script(name: str) -> None:
    script = examples.find_example(name) / f"{name}.sh"
    subprocess.run(["bash", "-n", script], check=True)
    assert Headings(script.read_text()).heading_of(10_000) == "Clean up"
