"""A cluster of kind as an issuer of an instance on the developer's machine, by the commands of the guide."""

from collections.abc import Iterator

import pytest

from podpass import names
from tests.guides import DOCS, read_listings
from tests.kind.test_kind import SECRET
from tests.node.sandbox import SandboxError
from tests.node.user_machine import UserMachine

GUIDE = DOCS / "develop/several-clusters.md"


@pytest.fixture
def host(machine: UserMachine) -> Iterator[UserMachine]:
    """Provide the machine with podpass and the guide's program; stop what the guide starts."""
    machine.run("python -m pip install -q -c constraints.txt ./kubeling '.[demo]'")
    [program] = read_listings(GUIDE, "python")
    (machine.checkout / "read.py").write_text(program)
    yield machine
    *_, end = read_listings(GUIDE, "sh")
    machine.run(end)
    assert machine.run("kind get clusters") == ""


def test_program_with_a_token_of_a_kind_cluster_reads_a_secret_of_the_local_instance(
    host: UserMachine,
) -> None:
    *_, commands, _ = read_listings(GUIDE, "sh")
    assert host.run(commands).endswith(f"\n{SECRET}")
    exports = "\n".join(line for line in commands.splitlines() if line.startswith("export "))
    token = f"kubectl create token default --audience {names.EXCHANGE_AUDIENCE} > north.token"
    with pytest.raises(SandboxError, match="AADSTS700213"):
        host.run(f"{exports}\n{token}\npodpass run -- python read.py")
