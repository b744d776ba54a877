"""What the script tells, and whether it kept the tutorial's promises."""

import subprocess
from pathlib import Path

import pytest

from podpass.local import examples
from podpass.local.tutorial.model import Answered, Asked, Headings, problems, tellings

SECRET = '"successfully got secret" secret="Hello!"'


def answer(command: str, out: str = "", code: int = 0) -> Answered:
    return Answered(asked=Asked(line=1, words=command.split()), code=code, out=out, talk="")


def went_well() -> list[Answered]:
    return [
        answer("az group create"),
        answer("kubectl logs sample", SECRET),
        answer("kubectl run after-it-is-off", "pod/after-it-is-off created"),
        answer("kubectl get pod after-it-is-off", ""),
    ]


def test_a_run_that_kept_every_promise_has_no_problems() -> None:
    assert problems(went_well()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({0: answer("az group create", code=1)}, "`az group create` ended with 1"),
        ({1: answer("kubectl logs sample", "failed")}, "log does not show the secret"),
        ({3: answer("kubectl get pod after-it-is-off", "[{AZURE_CLIENT_ID}]")}, "still gets"),
    ],
)
def test_each_promise_that_is_broken_is_named(changed: dict[int, Answered], said: str) -> None:
    answers = [changed.get(number, each) for number, each in enumerate(went_well())]
    (problem,) = problems(answers)
    assert said in problem


def test_a_script_that_ended_early_broke_its_promises() -> None:
    assert len(problems([])) == 2


def test_a_command_belongs_to_the_heading_above_it() -> None:
    headings = Headings("#!/bin/sh\n## One\na\n# no heading\nb\n## Two\nc\n")
    assert [headings.above(line) for line in (1, 3, 5, 7)] == ["", "One", "One", "Two"]


def test_commands_tell_what_they_were_and_what_they_answered(tmp_path: Path) -> None:
    """The real shell, with an az and a kubectl that only answer."""
    for name, body in {"az": 'echo "$# $2"; echo talk >&2; exit 3', "kubectl": "cat"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = tmp_path / "script.sh"
    script.write_text(
        "## Step\naz show 'two words' || true\nprintf 'a\\nb\\n' | kubectl apply -f -\n"
        'echo "got $(kubectl get <<<x)"\n'
    )
    told = examples.find("tutorial") / "told.sh"
    done = subprocess.run(
        ["bash", "-c", 'exec 3>"$3"; . "$1"; . "$2"', "-", told, script, tmp_path / "told"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 two words\na\nb\ngot x\n"
    texts = (tmp_path / "told").read_text().split("\0")[:-1]
    seen = list(tellings(iter(texts)))
    assert [each.line for each in seen if isinstance(each, Asked)] == [2, 3, 4]
    assert str(seen[0]) == "az show 'two words'"
    first = seen[1]
    assert isinstance(first, Answered)
    assert (first.code, first.out, first.talk) == (3, "2 two words", "talk")


def test_the_script_is_one_that_bash_reads() -> None:
    script = examples.find("tutorial") / "tutorial.sh"
    subprocess.run(["bash", "-n", script], check=True)
    assert Headings(script.read_text()).above(10_000) == "Clean up"
