"""Write and read a blob with a Rust library's own workload identity: LIBRARY HOST STYLE SCOPE.

LIBRARY is obstore (with object_store) or opendal (with reqsign). Both read the webhook's variables and
request a token for Storage.
"""

import sys
from importlib.metadata import version

from answer import emit

ACCOUNT, CONTAINER, NAME, TEXT = "devstoreaccount1", "podpass", "rust", b"first"


def with_obstore(endpoint: str) -> bytes:
    from obstore.store import AzureStore

    store = AzureStore(CONTAINER, account_name=ACCOUNT, endpoint=endpoint)
    store.put(NAME, TEXT)
    return bytes(store.get(NAME).bytes())


def with_opendal(endpoint: str) -> bytes:
    import opendal

    store = opendal.Operator("azblob", container=CONTAINER, account_name=ACCOUNT, endpoint=endpoint)
    store.write(NAME, TEXT)
    return bytes(store.read(NAME))


if __name__ == "__main__":
    library, host, *_ = sys.argv[1:]
    use = {"obstore": with_obstore, "opendal": with_opendal}[library]
    emit(blob=use(f"https://{host}/{ACCOUNT}").decode(), version=version(library))
