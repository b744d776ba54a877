"""The listings of the guide for Java and Node, with the released Testcontainers of each language."""

from pathlib import Path

from tests.clients.installation import find_tool, run_installation
from tests.clients.toolchains import OLDEST, npm
from tests.containers.engine import Engine
from tests.containers.guide import write_listings
from tests.node.images import ROOT

_PROGRAMS = Path(__file__).parent / "client_programs"
_SEED = ROOT / "examples" / "quickstart" / "seed.yaml"


def test_listing_of_java_reads_the_secret(docker: Engine, tmp_path: Path) -> None:
    listing = write_listings(tmp_path, "ReadSecret.java") / "ReadSecret.java"
    maven = [find_tool("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    compiler = [find_tool("javac"), "-d", "classes", "-cp", "lib/*", listing.name]
    files = [_PROGRAMS / "java" / "pom.xml", listing, _SEED]
    folder = run_installation("testcontainers-java", files, maven, compiler, newest=False)
    done = docker.run(find_tool("java"), "-cp", "classes:lib/*", "ReadSecret", folder=folder)
    assert done.stdout.splitlines()[-1] == "hello from the vault"


def test_listing_of_node_reads_the_secret(docker: Engine, tmp_path: Path) -> None:
    listings = write_listings(tmp_path, "with-podpass.mjs", "read_secret.mjs")
    files = [_PROGRAMS / "node" / "package.json", *sorted(listings.iterdir()), _SEED]
    folder = npm("testcontainers-node", files, OLDEST)
    node = find_tool("node")
    command = (node, "with-podpass.mjs", node, "read_secret.mjs")
    assert docker.run(*command, folder=folder).stdout == "hello from the vault\n"
