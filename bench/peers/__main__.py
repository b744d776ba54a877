"""Build the programs that `make test-kubernetes` needs, because a build takes longer than a test may.

With the word `operators`, build those of `make test-kubeling-peers` instead. It prints what cannot be built;
the tests of that program are skipped.
"""

import sys
from collections.abc import Callable
from functools import partial

from bench.peers.build import PROGRAMS, CannotBuild, build_program
from bench.peers.kubernetes import environ

_OPERATORS = ("example_operator", "helm", "kubectl", "operators", "podinfo")


def main() -> None:
    """Build what is missing, one program after the other."""
    if sys.argv[1:] == ["operators"]:
        names = (each for each, program in PROGRAMS.items() if program.folder in _OPERATORS)
        for name in names:
            _try(name, partial(build_program, name))
        return
    _try("helm", lambda: build_program("helm"))
    _try("the reference's webhook", lambda: build_program("azwi-webhook"))
    _try("External Secrets", lambda: build_program("external-secrets"))
    _try("cert-manager's solver", lambda: build_program("cert-manager-solver"))
    _try("promtool", lambda: build_program("promtool"))
    _try("a real control plane", environ)


def _try(what: str, build: Callable[[], object]) -> None:
    try:
        build()
    except CannotBuild as exc:
        print(f"SKIPPED: {what}: {exc}", file=sys.stderr)


if __name__ == "__main__":
    main()
