"""The signature for Azurite, and the headers that it receives."""

from datetime import UTC, datetime
from urllib.parse import parse_qs

from azure.storage.blob._shared.shared_access_signature import SharedAccessSignature

from podpass.crypto.secret import Secret
from podpass.lab.services.storage import azurite

KEY = "a2V5IG9mIHRoZSBhY2NvdW50"


def test_signature_equals_that_of_the_released_library() -> None:
    ours = parse_qs(azurite.account_signature("orders", Secret(KEY), "2030-01-02T03:04:05Z"))
    library = SharedAccessSignature(  # type: ignore[no-untyped-call]
        "orders", KEY, x_ms_version=ours["sv"][0]
    )
    signed = library.generate_account(
        ours["ss"][0],
        ours["srt"][0],
        ours["sp"][0],
        datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        protocol=ours["spr"][0],
    )
    assert parse_qs(signed) == ours


def test_headers_of_the_connection_are_removed() -> None:
    headers = [
        (b"Connection", b"close, X-One"),
        (b"x-one", b"1"),
        (b"X-Two", b"2"),
        (b"transfer-encoding", b"chunked"),
        (b"authorization", b"Bearer abc"),
        (b"host", b"other"),
    ]
    assert azurite.forwarded(headers) == [(b"x-two", b"2")]


def test_client_cannot_remove_the_length_of_its_body() -> None:
    headers = [(b"connection", b"content-length"), (b"content-length", b"5")]
    assert azurite.forwarded(headers) == [(b"content-length", b"5")]
