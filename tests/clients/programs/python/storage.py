"""Write and read a blob with the C++ identity library in pyarrow: HOST STYLE SCOPE [LATER].

STYLE and SCOPE have no effect: the library uses its default credential and requests a token for Storage.

The library has no API for its version, but its log contains the User-Agent that it sends. A failure in the
library ends the process.
"""

import os
import re
import subprocess
import sys
import uuid

from answer import assertion, emit, wait_for_another

USER_AGENT = re.compile(r"azsdk-cpp-identity/([\d.]+)")


def use(host: str, later: str) -> None:
    from pyarrow.fs import AzureFileSystem

    first = assertion()
    storage = AzureFileSystem(
        account_name="devstoreaccount1", blob_storage_authority=host, dfs_storage_authority=host
    )
    emit(blob=write_and_read(storage, "first"))
    if later:
        wait_for_another(first)
        emit(later=write_and_read(storage, "second"))


def write_and_read(storage: object, text: str) -> str:
    """Write a text and read it back."""
    # A new blob each time: a write first empties the blob, and the other release may be reading it.
    name = f"podpass/{uuid.uuid4()}"
    with storage.open_output_stream(name) as blob:  # type: ignore[attr-defined]
        blob.write(text.encode())
    with storage.open_input_stream(name) as blob:  # type: ignore[attr-defined]
        return str(blob.read().decode())


def run_with_log(arguments: list[str]) -> int:
    """Run this program again with the library's log enabled, and print the version from the log."""
    command = [sys.executable, __file__, *arguments, "--watched"]
    environment = {**os.environ, "AZURE_LOG_LEVEL": "verbose"}
    version = ""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if not version and (found := USER_AGENT.search(line)):
                version = found[1]
                emit(version=version)
            if "what()" in line or "Error" in line:
                print(line, end="", file=sys.stderr)
    return child.returncode


if __name__ == "__main__":
    if sys.argv[-1] == "--watched":
        account, _, _, *rest = sys.argv[1:-1]
        use(account, rest[0] if rest else "")
    else:
        sys.exit(run_with_log(sys.argv[1:]))
