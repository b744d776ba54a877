"""Pods of the images of the languages, next to an installed cloud half with a vault for them."""

from typing import Any

from tests.node.cloud_installation import Installation
from tests.node.language_images import VAULT, Client, write_image
from tests.node.objects import container, pod

SECRET = "read by a container"
SEED = f"""
vaults:
  - name: {VAULT}
    secrets: {{greeting: {SECRET}}}
    access: [{{identity: web, role: Key Vault Secrets User}}]
"""
ENDED = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"


class Languages:
    """The cloud half with a vault, and the images of the languages that the tests need."""

    def __init__(self, cloud: Installation) -> None:
        self.cloud, self.node = cloud, cloud.node
        self._images: dict[str, str] = {}
        cloud.podpass("apply", "-f", "-", given=SEED)

    def image(self, language: str) -> str:
        """Import a language's image; return its name."""
        if language not in self._images:
            name, archive = write_image(language, self.node.sandbox.folder)
            self.node.import_image(archive)
            archive.unlink()
            self._images[language] = name
        return self._images[language]

    def pod(self, name: str, client: Client, account: str) -> dict[str, Any]:
        """Return a pod with the program of a client: non-root, with a read-only root."""
        variables = [{"name": name, "value": value} for name, value in client.variables.items()]
        mounts = [{"name": "tmp", "mountPath": "/tmp"}] if client.has_tmp else []
        volumes = [{"name": "tmp", "emptyDir": {}}] if client.has_tmp else []
        image = self.image(client.image)
        app = container(client.command, image, env=variables, volumeMounts=mounts)
        return pod(name, "shop", app, serviceAccountName=account, volumes=volumes)
