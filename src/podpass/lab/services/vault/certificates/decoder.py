"""Decode imported certificates in a process of its own, which ends after a bounded time.

Source:  python -I -m podpass.lab.services.vault.certificates.decoder, with a request on its input.
"""

import asyncio
import base64
import json
import resource
import signal
import sys
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from podpass.lab.services.vault.certificates import decoding, views
from podpass.lab.services.vault.certificates.decoding import Decoded
from podpass.lab.services.vault.errors import BadParameter

CPU_SECONDS = 5
# The machine may be busy, so the effective limit is CPU_SECONDS.
_WALL_SECONDS = 60.0
_MEMORY_BYTES = 1024 * 1024 * 1024
_OUT_OF_TIME = (-signal.SIGXCPU, -signal.SIGKILL)


async def decode(value: str, password: str, *, preserve_order: bool) -> Decoded:
    """Decode an imported certificate. Raises BadParameter."""
    decoding.check_before_work(value, password)
    return await decode_in_process(value, password, preserve_order=preserve_order)


async def decode_in_process(
    value: str, password: str, *, preserve_order: bool, cpu_seconds: int = CPU_SECONDS
) -> Decoded:
    """Decode a value whose work is bounded by the time of the process. Raises BadParameter."""
    request = {"value": value, "password": password, "preserve_order": preserve_order}
    answer = await _run(json.dumps(request).encode(), cpu_seconds)
    if answer is None:
        raise BadParameter(
            "The certificate takes too long to decode.", hint="export it with fewer iterations"
        )
    if "error" in answer:
        raise BadParameter(answer["error"])
    return _from_answer(answer)


async def _run(request: bytes, cpu_seconds: int) -> dict[str, Any] | None:
    arguments = (sys.executable, "-I", "-m", __name__, str(cpu_seconds))
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A traceback could contain the value or the password.
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_WALL_SECONDS):
            output, _ = await process.communicate(request)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode in _OUT_OF_TIME:
        return None
    if process.returncode != 0:
        return {"error": "The certificate cannot be decoded."}
    answer: dict[str, Any] = json.loads(output)
    return answer


def _from_answer(answer: dict[str, Any]) -> Decoded:
    key = views.decode_sealed(base64.b64decode(answer["key"]))
    certificates = (base64.b64decode(each) for each in answer["certificates"])
    return Decoded(
        key=key,
        certificates=tuple(map(x509.load_der_x509_certificate, certificates)),
        content_type=answer["content_type"],
    )


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        found = decoding.decode(
            request["value"], request["password"], preserve_order=request["preserve_order"]
        )
    except BadParameter as exc:
        return {"error": exc.message}
    der = serialization.Encoding.DER
    return {
        "key": base64.b64encode(views.encode_sealed(found.key)).decode(),
        "certificates": [
            base64.b64encode(each.public_bytes(der)).decode() for each in found.certificates
        ],
        "content_type": found.content_type,
    }


def main() -> None:
    """Decode the request on the input within the limit of processor time, and write the answer."""
    seconds = int(sys.argv[1])
    # At the soft limit the process gets a signal that ends it; a core dump would contain the key.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
