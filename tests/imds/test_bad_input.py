"""Bad input from the environment: each case has a clear answer and one log line, and nothing is leaked."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.files import read_regular
from podpass.imds import entra_client
from tests.exchange.world import World
from tests.imds.conftest import Sidecar, authority_at, running_sidecar
from tests.imds.raw_server import RawServer, raw_server

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


def _json(text: str, head: bytes = OK) -> bytes:
    body = text.encode()
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
ANSWERS = {
    "nothing": (b"", "closed the connection before its response was complete"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "the response is not HTTP/1.1"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", "closed the connection before"),
    "half a body": (OK + b"Content-Length: 9\r\n\r\n{}", "closed the connection before"),
    "a login page": (_json("<html>Sign in</html>", HTML), "is not JSON (status 200, text/html)"),
    "no content type": (b"HTTP/1.1 200 OK\r\n\r\n<", "is not JSON (status 200, no content type)"),
    "a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n",
        "is not JSON (status 302",
    ),
    "an empty body": (_json(""), "is not JSON (status 200"),
    "a list": (_json("[]"), "is not JSON (status 200"),
    "deep JSON": (_json("[" * 100_000), "is not JSON (status 200"),
    "text that is not UTF-8": (OK + b"Content-Length: 2\r\n\r\n\xff\xfe", "is not JSON"),
    "no token": (_json("{}"), "contains no access token"),
    "an empty token": (_json('{"access_token":"","expires_in":9}'), "contains no access token"),
    "a token that is a number": (_json('{"access_token":1,"expires_in":9}'), "no access token"),
    "no lifetime": (_json('{"access_token":"x"}'), "contains no access token"),
    "a negative lifetime": (_json('{"access_token":"x","expires_in":-1}'), "no access token"),
    "an endless lifetime": (_json('{"access_token":"x","expires_in":1e99}'), "no access token"),
    "an unknown error": (_json('{"error":"x\\ny"}', REFUSED), "refused the request: x (400)"),
    "an error without a code": (_json("{}", REFUSED), "refused the request: no error code (400)"),
    "half of a surrogate pair": (
        _json('{"error_description":"AADSTS7000: no \\ud800 app"}', REFUSED),
        "AADSTS7000: no ? app",
    ),
    "a server error": (
        b"HTTP/1.1 503 Busy\r\n\r\nbusy",
        "is not JSON (status 503, no content type)",
    ),
    "a long head": (
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000,
        "the head of the response is longer",
    ),
}


Answering = Callable[..., AbstractAsyncContextManager[Sidecar]]


@pytest.fixture
def answering(world: World, ca: trustme.CA, token_file: Path) -> Answering:
    """Return a function that runs a sidecar whose authority is the given server."""

    @asynccontextmanager
    async def run(
        server: RawServer, issued_by: trustme.CA = ca, **options: Any
    ) -> AsyncIterator[Sidecar]:
        async with raw_server(server, issued_by) as authority:
            there = authority_at(f"https://localhost:{authority.port}", world, token_file)
            async with running_sidecar(world, there, options) as made:
                yield made

    return run


async def _ask(sidecar: Sidecar, caplog: pytest.LogCaptureFixture, message: str) -> None:
    """Send a token request that must fail with this message, and check that the sidecar still answers."""
    assertion = sidecar.token_file.read_text("latin-1") if sidecar.token_file.is_file() else "-"
    caplog.clear()
    status, text, headers = await sidecar.token()
    assert (status, headers["Content-Type"]) == (500, "text/plain; charset=utf-8")
    assert message in text
    assert text.count("\n") == 1
    lines = [each for each in caplog.records if each.name.startswith("podpass.imds")]
    # The request to the authority, and the request of the program.
    assert [each.getMessage() for each in lines] == [
        "token_request_failed",
        "token_request_refused",
    ]
    for line in lines:
        assert message in vars(line)["cause"]
        assert len(assertion) < 40 or not (
            assertion[:40] in text or assertion[:40] in vars(line)["cause"]
        )
    assert (await sidecar.get("/readyz"))[:2] == (200, "ok")


@pytest.mark.parametrize("name", ANSWERS)
async def test_invalid_response_of_the_authority_is_reported(
    answering: Answering, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    answer, message = ANSWERS[name]
    async with answering(RawServer(answer)) as sidecar:
        await _ask(sidecar, caplog, message)


@pytest.mark.parametrize(
    "head",
    [OK + b"\r\n", OK + b"Content-Length: 1000000000\r\n\r\n"],
    ids=("without a length", "with a length"),
)
async def test_huge_response_of_the_authority_is_not_read_to_its_end(
    answering: Answering, caplog: pytest.LogCaptureFixture, head: bytes
) -> None:
    """Fails by its time limit without the bound: this answer never ends."""
    made = RawServer(head, repeat=b" " * 65536)
    async with answering(made) as sidecar:
        await _ask(sidecar, caplog, "the response is longer than 262144 bytes")


@pytest.mark.parametrize("answer", [b"", OK, OK + b"Content-Length: 9\r\n\r\n{}"])
async def test_slow_authority_is_reported_after_the_timeout(
    answering: Answering,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
) -> None:
    monkeypatch.setattr(entra_client, "_SECONDS", 0.2)
    async with answering(RawServer(answer, is_silent=True)) as sidecar:
        await _ask(sidecar, caplog, "did not answer within 0 seconds")


async def test_request_succeeds_after_the_unavailable_authority_is_available_again(
    world: World, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_server(RawServer()) as closed:
        pass
    url = f"https://localhost:{closed.port}"
    async with running_sidecar(world, authority_at(url, world, token_file)) as sidecar:
        await _ask(sidecar, caplog, "cannot be reached: ConnectionRefusedError")


async def test_certificate_of_another_ca_is_not_trusted(
    answering: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    authority = RawServer(_json("{}"))
    async with answering(authority, trustme.CA()) as sidecar:
        await _ask(sidecar, caplog, "its certificate is not trusted: ")
        assert authority.requests == []


async def test_error_that_repeats_the_assertion_is_redacted(
    answering: Answering, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = f"AADSTS700211: no record for {token_file.read_text()}"
    answer = _json(f'{{"error":"invalid_client","error_description":"{said}"}}', REFUSED)
    async with answering(RawServer(answer)) as sidecar:
        await _ask(sidecar, caplog, "AADSTS700211: no record for [token]")


async def test_json_with_another_content_type_is_a_token(answering: Answering) -> None:
    answer = _json('{"access_token":"x","expires_in":"3600"}', HTML)
    async with answering(RawServer(answer)) as sidecar:
        assert (await sidecar.token())[0] == 200


# --------------------------------------------------------------------------------------- token file


def _fifo(path: Path) -> None:
    os.mkfifo(path)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda _: None, "cannot be read: No such file or directory"),
    "a directory": (Path.mkdir, "cannot be read: not a regular file"),
    "a FIFO without a writer": (_fifo, "cannot be read: not a regular file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "an empty file": (Path.touch, "does not contain a token"),
    "binary": (lambda path: path.write_bytes(b"\xff\x00"), "does not contain a token"),
    "64 KiB": (lambda path: path.write_bytes(b"a" * 65_537), "larger than 65536 bytes"),
}


@pytest.mark.parametrize("name", FILES)
async def test_unusable_token_file_is_named_and_does_not_block(
    sidecar: Sidecar, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    make, message = FILES[name]
    sidecar.token_file.unlink()
    make(sidecar.token_file)
    await _ask(sidecar, caplog, message)


def test_file_of_another_user_is_not_readable(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x")
    path.chmod(0)
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(OSError, match="Permission denied"):
            read_regular(path, 10)
    finally:
        os.seteuid(was)


async def test_token_file_that_the_kubelet_replaces_is_read_again(
    world: World, ca: trustme.CA, tmp_path: Path
) -> None:
    """The kubelet switches a link to a new folder."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"assertion-{name}")
    (tmp_path / "..data").symlink_to("first")
    answer = _json('{"access_token":"x","expires_in":30}')
    async with (
        raw_server(RawServer(answer), ca) as authority,
        running_sidecar(
            world,
            authority_at(f"https://localhost:{authority.port}", world, tmp_path / "..data/token"),
        ) as sidecar,
    ):
        assert (await sidecar.token())[0] == 200
        (tmp_path / "new").symlink_to("second")
        (tmp_path / "new").rename(tmp_path / "..data")
        assert (await sidecar.token())[0] == 200
        first, second = authority.requests
    assert b"client_assertion=assertion-first" in first
    assert b"client_assertion=assertion-second" in second


# ------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("client_id=%zz", "malformed parameter"),
        ("client_id=X;x", "malformed parameter"),
        ("client_id=web", "is not a GUID"),
        ("client_id={client}&client_id={other}", "more than once"),
        ("client_id={other}&object_id=1", "object_id is not supported"),
        ("x=" + "y" * 9000, "longer than 8192 characters"),
    ],
    ids=range(6),
)
async def test_request_with_an_ambiguous_identity_is_refused(
    sidecar: Sidecar, caplog: pytest.LogCaptureFixture, query: str, message: str
) -> None:
    text = query.format(client=sidecar.world.CLIENT, other=sidecar.world.APPLICATION)
    status, body, _ = await sidecar.token(text)
    assert (status, message in body) == (400, True)
    assert "access_token" not in body
    [line] = [each for each in caplog.records if each.levelname == "WARNING"]
    assert message in vars(line)["cause"]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("client_id={other}", 400),
        ("client_id={client}", 200),
        ("object_id=1", 400),
        ("a=b", 200),
        ("x" * 70_000, 413),
    ],
    ids=range(5),
)
async def test_form_of_a_request_must_agree_with_its_query(
    sidecar: Sidecar, form: str, status: int
) -> None:
    client, other = sidecar.world.CLIENT, sidecar.world.APPLICATION
    found, body, _ = await sidecar.token(
        f"client_id={client}",
        method="POST",
        data=form.format(client=client, other=other),
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    assert found == status, body


async def test_identity_in_a_form_is_not_replaced_by_that_of_the_pod(sidecar: Sidecar) -> None:
    """The reference ignores a form, and answers with the pod's own identity."""
    await sidecar.token(method="POST", data={"client_id": sidecar.world.APPLICATION})
    own = await sidecar.token()
    named = await sidecar.token(f"client_id={sidecar.world.APPLICATION}")
    posted = await sidecar.token(method="POST", data={"client_id": sidecar.world.APPLICATION})
    assert posted[1] == named[1] != own[1]


async def test_long_head_is_refused_and_the_connection_closed(sidecar: Sidecar) -> None:
    port = int(sidecar.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 20_000)
    assert b" 431 " in await reader.readline()
    await reader.read()
    writer.close()


async def test_error_with_half_of_a_surrogate_pair_is_valid_json(answering: Answering) -> None:
    answer, _ = ANSWERS["half of a surrogate pair"]
    async with answering(RawServer(answer), imds_errors=True) as sidecar:
        status, text, _ = await sidecar.token()
    assert status == 400
    assert json.loads(text)["error_description"].startswith("AADSTS7000: no ? app")


async def test_requests_that_wait_for_the_authority_are_limited(
    world: World, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = entra_client.EntraClient(authority_at(world.url, world, token_file), world.clock)
    gate = asyncio.Event()

    async def wait(_: bytes, __: str) -> None:
        await gate.wait()
        raise OSError(0, "gone")

    monkeypatch.setattr(client, "_post", wait)
    waiting = [
        asyncio.create_task(client.request_token(str(number), "x"))
        for number in range(entra_client.MAX_WAITING)
    ]
    await asyncio.sleep(0.01)
    with pytest.raises(entra_client.TokenNotAcquired, match="wait for the authority already"):
        await asyncio.wait_for(client.request_token("one more", "x"), 5)
    gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    with pytest.raises(entra_client.TokenNotAcquired, match="cannot be reached"):
        await client.request_token("later", "x")
