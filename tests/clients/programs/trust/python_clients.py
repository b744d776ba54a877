"""Connect to each URL with a library's own trust: LIBRARY URL... One line for each: trusted or refused."""

import asyncio
import importlib
import ssl
import sys
import urllib.error
import urllib.request


def _requests(url: str) -> bool:
    requests = importlib.import_module("requests")
    try:
        requests.get(url, timeout=60)
    except requests.exceptions.SSLError:
        return False
    return True


def _httpx(url: str) -> bool:
    httpx = importlib.import_module("httpx")
    try:
        httpx.get(url, timeout=60)
    except httpx.ConnectError as exc:
        if "CERTIFICATE_VERIFY_FAILED" in str(exc):
            return False
        raise
    return True


def _aiohttp(url: str) -> bool:
    aiohttp = importlib.import_module("aiohttp")

    async def get() -> bool:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(url):
                    return True
            except aiohttp.ClientConnectorCertificateError:
                return False

    return asyncio.run(get())


def _urllib(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=60).read()
    except urllib.error.HTTPError as exc:
        exc.close()  # an answer, over a connection that is trusted
    except urllib.error.URLError as exc:
        if isinstance(exc.reason, ssl.SSLCertVerificationError):
            return False
        raise
    return True


CLIENTS = {"requests": _requests, "httpx": _httpx, "aiohttp": _aiohttp, "urllib": _urllib}

if __name__ == "__main__":
    for each in sys.argv[2:]:
        print("trusted" if CLIENTS[sys.argv[1]](each) else "refused")
