"""A real CoreDNS with the edited configuration of each distribution, and the resolver behind it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import pytest

from podpass.lab.names import corefile
from podpass.lab.names.corefile import Answers
from tests.lab.names.corefiles import ANSWERS, COREFILES
from tests.lab.names.server import HOST, Cloud, running
from tests.ports import free_port
from tests.programs import built

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]
# Plugins that need a cluster, another server, or a fixed port.
_ELSEWHERE = re.compile(
    r"^ *(health|kubernetes|forward) [^\n]*\{\n(?: *[a-z][^\n]*\n)* *\}\n|^ *(?:health \{\n[^}]*\}\n)"
    r"|^ *(?:ready|loop|reload|prometheus[^\n]*|forward [^\n{]*)\n",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def binary() -> Path:
    return built("coredns")


def _on_loopback(text: str, port: int, folder: Path) -> str:
    """Return a configuration that runs without a cluster, on another port."""
    (folder / "NodeHosts").write_text("10.1.1.1 node-1\n")
    text = _ELSEWHERE.sub("", text).replace(":53", f":{port}")
    text = re.sub(r"(/etc/coredns/)?custom/", f"{folder}/custom/", text)
    return text.replace("/etc/coredns/", f"{folder}/")


@asynccontextmanager
async def _coredns(binary: Path, folder: Path, text: str, port: int) -> AsyncIterator[None]:
    file = folder / "Corefile"
    file.write_text(text)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary, "-conf", file, stdout=log, stderr=log
        )
    try:
        while True:
            assert process.returncode is None, (folder / "log").read_text()
            try:
                query = dns.message.make_query("ready.test", "A")
                await dns.asyncquery.tcp(query, HOST, port=port, timeout=30)
                break
            except (OSError, dns.exception.DNSException):
                await asyncio.sleep(0.02)  # it does not listen yet
        yield
    finally:
        process.kill()
        await process.wait()


async def _ask(port: int, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await send(dns.message.make_query(name, kind), HOST, port=port, timeout=30)


def _addresses(reply: dns.message.Message) -> list[str]:
    return [record.address for rrset in reply.answer for record in rrset]


def _edit(text: str, answers: Answers, folder: Path) -> str:
    """Add the block as `podpass cloud install` does it for this configuration."""
    if not corefile.imports_custom_servers(text):
        return corefile.add_block(text, answers)
    (folder / "custom").mkdir()
    for key, value in corefile.custom_keys({}, text, answers).items():
        (folder / "custom" / key).write_text(value)
    return text


@pytest.mark.parametrize("name", COREFILES)
async def test_names_of_azure_are_answered_and_all_others_as_before(
    name: str, binary: Path, cloud: Cloud, tmp_path: Path
) -> None:
    port = free_port()
    before = _on_loopback(COREFILES[name], port, tmp_path)
    text = _edit(before, ANSWERS, tmp_path)
    _use_port_of_resolver(tmp_path, cloud.port)
    text = text.replace(f"forward . {ANSWERS.resolver}\n", f"forward . {HOST}:{cloud.port}\n")
    async with _coredns(binary, tmp_path, text, port):
        for tcp in (False, True):
            for host in (
                "login.microsoftonline.com",
                "graph.microsoft.com",
                "DEMO.vault.azure.net",
            ):
                assert _addresses(await _ask(port, host, tcp=tcp)) == ["10.96.7.7"]
        assert _addresses(await _ask(port, "demo.vault.azure.net", "AAAA")) == ["fd00::77"]
        assert (await _ask(port, "new.vault.azure.net")).rcode() == dns.rcode.NXDOMAIN
        cloud.vaults.add("new")
        assert _addresses(await _ask(port, "new.vault.azure.net")) == ["10.96.7.7"]
        assert (await _ask(port, "www.example.org")).rcode() != dns.rcode.NXDOMAIN
        if name == "minikube":
            host = "host.minikube.internal"
            assert _addresses(await _ask(port, host)) == ["192.168.49.1"]
        if name == "k3s":
            assert _addresses(await _ask(port, "node-1")) == ["10.1.1.1"]


def _use_port_of_resolver(folder: Path, port: int) -> None:
    for file in folder.glob("custom/*.server"):
        text = file.read_text()
        file.write_text(
            text.replace(f"forward . {ANSWERS.resolver}\n", f"forward . {HOST}:{port}\n")
        )


async def test_resolver_that_was_away_is_used_again_at_once(binary: Path, tmp_path: Path) -> None:
    port = free_port()
    text = corefile.add_block(f".:{port} {{\n    errors\n}}\n", ANSWERS)
    # With the address of the client, a socket could get the port of the resolver and answer itself.
    async with running(host="127.0.0.2") as cloud:
        address = f"{cloud.host}:{cloud.port}"
        text = text.replace(f"forward . {ANSWERS.resolver}\n", f"forward . {address}\n")
        async with _coredns(binary, tmp_path, text, port):
            assert _addresses(await _ask(port, "graph.microsoft.com")) == ["10.96.7.7"]
            await cloud.stop()
            reply = await _ask(port, "graph.microsoft.com")
            assert reply.rcode() == dns.rcode.SERVFAIL
            await cloud.start()
            assert _addresses(await _ask(port, "graph.microsoft.com")) == ["10.96.7.7"]


ODD = """\
# a comment with { and "
(answers) {
    hosts {
        10.2.2.2 snippet.test
        fallthrough
    }
}
.:53,
example.org:53
{
    import answers # the snippet
    header {
        response set aa
    }
    log . "{remote} \\"{name}\\" #{type} {"
    template IN A quoted.test {
        answer "{{ .Name }} 60 IN A 10.3.3.3"
    }
}\r
dns://upper.test.:53 { whoami
}"""


async def test_unusual_configuration_is_read_as_coredns_reads_it(
    binary: Path, cloud: Cloud, tmp_path: Path
) -> None:
    port = free_port()
    before = ODD.replace(":53", f":{port}")
    added = corefile.add_block(before, ANSWERS)
    assert corefile.remove_block(added) == before
    text = added.replace(f"forward . {ANSWERS.resolver}\n", f"forward . {HOST}:{cloud.port}\n")
    async with _coredns(binary, tmp_path, text, port):
        assert _addresses(await _ask(port, "graph.microsoft.com")) == ["10.96.7.7"]
        assert _addresses(await _ask(port, "snippet.test")) == ["10.2.2.2"]
        assert _addresses(await _ask(port, "quoted.test")) == ["10.3.3.3"]
        assert (await _ask(port, "x.upper.test")).rcode() == dns.rcode.NOERROR


async def test_pods_with_the_resolver_reach_all_other_names_through_it(
    binary: Path, tmp_path: Path
) -> None:
    port = free_port()
    text = _on_loopback(COREFILES["minikube"], port, tmp_path)
    async with _coredns(binary, tmp_path, text, port), running((HOST, port)) as cloud:
        for tcp in (False, True):
            reply = await cloud.ask("host.minikube.internal", tcp=tcp, edns=0)
            assert _addresses(reply) == ["192.168.49.1"]
            assert _addresses(await cloud.ask("graph.microsoft.com", tcp=tcp)) == ["10.96.7.7"]
