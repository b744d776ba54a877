"""Words for failed calls of webhooks: those of the real API server, which the contract tests compare."""

import errno
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from kubeling.apiserver.admission import webhook_errors

VERIFY = "tls: failed to verify certificate"


def _ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] words of OpenSSL")
    error.reason = reason
    return error


def _untrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "words of OpenSSL"
    return error


FAILURES: dict[str, tuple[Exception, str]] = {
    "no response": (TimeoutError(), "context deadline exceeded"),
    "closed connection": (aiohttp.ServerDisconnectedError(), "EOF"),
    "reset": (ConnectionResetError(errno.ECONNRESET, "x"), "connection reset by peer"),
    "other": (ValueError("a secret"), "malformed HTTP response (ValueError)"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_message_for_a_failed_call_equals_that_of_the_real_api_server(how: str) -> None:
    exc, words = FAILURES[how]
    assert webhook_errors.describe_failure(exc, "hook.test") == words


CONNECTIONS: dict[str, tuple[Exception, str]] = {
    "refused": (
        OSError(errno.ECONNREFUSED, "x"),
        "dial tcp [::1]:9: connect: connection refused",
    ),
    "several": (OSError("x"), "dial tcp [::1]:9: connect: no address can be reached"),
    "no name": (OSError("dns"), "dial tcp: lookup ::1: no such host"),
    "no tls": (
        _ssl_error("WRONG_VERSION_NUMBER"),
        "http: server gave HTTP response to HTTPS client",
    ),
    "tls": (_ssl_error("BAD_CIPHER"), "remote error: tls: bad cipher"),
    "expired": (_untrusted(10), f"{VERIFY}: x509: certificate has expired or is not yet valid"),
    "unknown": (_untrusted(20), f"{VERIFY}: x509: certificate signed by unknown authority"),
    "name": (_untrusted(62), f"{VERIFY}: x509: certificate is not valid for hook.test"),
    "other": (_untrusted(99), f"{VERIFY}: x509: words of OpenSSL"),
}
ERRORS = {"no name": aiohttp.ClientConnectorDNSError, "refused": aiohttp.ClientConnectorError}


@pytest.mark.parametrize("how", CONNECTIONS)
def test_message_for_a_failed_connection_equals_that_of_the_real_api_server(how: str) -> None:
    cause, words = CONNECTIONS[how]
    key = ConnectionKey("::1", 9, True, True, None, None, None)
    error: Exception
    if isinstance(cause, ssl.SSLCertVerificationError):
        error = aiohttp.ClientConnectorCertificateError(key, cause)
    elif isinstance(cause, ssl.SSLError):
        error = aiohttp.ClientConnectorSSLError(key, cause)
    else:
        assert isinstance(cause, OSError)
        error = ERRORS.get(how, aiohttp.ClientConnectorError)(key, cause)
    assert webhook_errors.describe_failure(error, "hook.test") == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "the server could not find the requested resource"),
        (503, "the server is currently unable to handle the request"),
        (500, 'an error on the server ("unknown") has prevented the request from succeeding'),
        (302, "the server responded with the status code 302 but did not return more information"),
    ],
)
def test_message_for_an_error_status_equals_that_of_the_real_api_server(
    status: int, words: str
) -> None:
    assert webhook_errors.describe_status(status) == words
