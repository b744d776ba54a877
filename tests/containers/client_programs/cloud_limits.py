"""Print what containers next to the cloud half can do, as lines `NAME: RESULT`."""

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from podpass.errors import Error
from podpass.testcontainers import CloudContainer

_APPLICATION = "your-application:1.0"
_SEED = {
    "identities": [{"name": "web"}, {"name": "powerless"}, {"name": "app", "kind": "application"}],
    "vaults": [
        {
            "name": "demo-vault",
            "secrets": {"greeting": "hello"},
            "access": [{"identity": "web", "role": "Key Vault Secrets User"}],
        }
    ],
}
_PROBE = """
import os, socket
for name in ("demo-vault.vault.azure.net", "other-vault.vault.azure.net", "podpass"):
    try:
        print(f"{name}: {socket.gethostbyname(name)}")
    except socket.gaierror as exc:
        print(f"{name}: {exc.strerror}")
print("header:", "IDENTITY_HEADER" in os.environ)
"""


def main() -> None:
    """Run the program."""
    with Network() as network, CloudContainer(network, seed=_SEED) as cloud:
        print("address:", cloud.address)
        powerless = DockerContainer(_APPLICATION)
        with cloud.configure(powerless, "powerless"):
            powerless.wait()
            print("powerless:", "ForbiddenByRbac" in str(powerless.get_logs()))
        for name in ("missing", "app"):
            try:
                cloud.configure(DockerContainer(_APPLICATION), name)
            except Error as exc:
                print(f"{name}: {exc.message}; {exc.hint}")
        # Fails if `configure` drops a setting of the caller: the entrypoint.
        probe = DockerContainer(_APPLICATION, entrypoint=["python", "-c", _PROBE])
        with cloud.configure(probe):
            probe.wait()
            print(probe.get_logs()[0].decode(), end="")


if __name__ == "__main__":
    main()
