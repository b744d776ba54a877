"""Clients that are attached to the program of a container."""

import asyncio
from pathlib import Path

import pytest

from kubeling.kubelet import container_run
from kubeling.kubelet.container_run import ContainerOutput
from kubeling.kubelet.logs import LogWriter
from tests.kubelet.cluster import KubeletCluster, shell
from tests.kubelet.streaming.clients import STDIN, STDOUT, opened

STREAMS = [("stdin", "true"), ("stdout", "true")]
READ = "while read line; do echo got $line; done; echo done"


async def test_output_and_input_are_those_of_the_container(cluster: KubeletCluster) -> None:
    await cluster.run("reader", shell(READ, stdin=True))
    await cluster.phase("reader", "Running")
    async with opened(cluster, "reader", STREAMS, subresource="attach") as channels:
        await channels.send(STDIN, b"one\n")
        await channels.until(STDOUT, b"got one\n")
    # The input stays open for the next client, unless the container has stdinOnce.
    async with opened(cluster, "reader", STREAMS, subresource="attach") as channels:
        await channels.send(STDIN, b"two\n")
        await channels.until(STDOUT, b"got two\n")
    assert await cluster.log("reader") == "got one\ngot two\n"


async def test_stdin_once_container_gets_end_of_file_when_the_first_client_ends_its_input(
    cluster: KubeletCluster,
) -> None:
    await cluster.run("once", shell(READ, stdin=True, stdinOnce=True))
    await cluster.phase("once", "Running")
    protocols = ("v5.channel.k8s.io",)
    async with opened(
        cluster, "once", STREAMS, subresource="attach", protocols=protocols
    ) as channels:
        await channels.send(STDIN, b"one\n")
        await channels.send(255, bytes([STDIN]))
        await channels.finish()
    assert (channels.text(), channels.exit_code) == ("got one\ndone\n", 0)
    await cluster.phase("once", "Succeeded")


async def test_container_with_tty_has_a_terminal(cluster: KubeletCluster) -> None:
    script = "read line; test -t 0 && test -t 1 && echo terminal $line"
    await cluster.run("tty", shell(script, stdin=True, tty=True))
    await cluster.phase("tty", "Running")
    query = [*STREAMS, ("tty", "true")]
    async with opened(cluster, "tty", query, subresource="attach") as channels:
        await channels.send(STDIN, b"here\n")
        await channels.finish()
    assert "terminal here\r\n" in channels.text()
    await cluster.phase("tty", "Succeeded")
    assert "terminal here" in await cluster.log("tty")


async def test_two_clients_get_the_same_output(cluster: KubeletCluster) -> None:
    await cluster.run("shared", shell(READ, stdin=True))
    await cluster.phase("shared", "Running")
    attach = {"subresource": "attach"}
    output = [("stdout", "true")]
    async with (
        opened(cluster, "shared", STREAMS, **attach) as first,
        opened(cluster, "shared", output, **attach) as second,
    ):
        await second.receive()
        await first.send(STDIN, b"both\n")
        await first.until(STDOUT, b"got both\n")
        await second.until(STDOUT, b"got both\n")


async def test_client_that_reads_nothing_does_not_stop_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails without the limit: the pod would wait for its slowest client."""
    monkeypatch.setattr(container_run, "STUCK_SECONDS", 0.01)
    writer = LogWriter(tmp_path / "log" / "0.log", lambda: 0.0)
    output = ContainerOutput(writer)
    delivered: list[tuple[str, bytes]] = []

    async def stuck(stream: str, data: bytes) -> None:
        delivered.append((stream, data))
        await asyncio.Event().wait()

    with output.attached(stuck):
        await output.write("stdout", b"one\n")
        await output.write("stdout", b"two\n")
    writer.close()
    assert delivered == [("stdout", b"one\n")]
