"""The Kubernetes API of an instance, for tests without a Kubernetes client of their own."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from podpass import names
from podpass.errors import Error
from podpass.pytest.client import InstanceRequestFailed, ServiceConnection

if TYPE_CHECKING:
    from podpass.lab.data.datadir import DataDir

_CONFLICT = 409
_ENDED = ("Succeeded", "Failed")
Object = dict[str, Any]


class Kubernetes:
    """The Kubernetes API as its administrator.

    A ServiceAccount is written `NAMESPACE/NAME`, or `NAME` in the namespace `default`.
    """

    def __init__(self, data_dir: "DataDir", port: int) -> None:
        from podpass.lab.data import ca

        self.server = f"https://127.0.0.1:{port}"
        self.kubeconfig = data_dir.kubeconfig
        certificate = data_dir.certificate(ca.ADMIN), data_dir.key(ca.ADMIN)
        self._target = port, data_dir.ca_file, certificate
        self._connection = ServiceConnection(*self._target)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; return the object, or the text of a log. Raises InstanceRequestFailed."""
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return self._connection.request(method, path, body, content_type)

    def create(self, obj: Object, *, namespace: str = "default", dry_run: bool = False) -> Object:
        """Create an object; return it as stored, after the webhook has changed it.

        `dry_run` stores nothing; `namespace` is used if the object has none. Raises InstanceRequestFailed.
        """
        path = _path(obj, namespace) + ("?dryRun=All" if dry_run else "")
        created: Object = self.request("POST", path, obj)
        return created

    def get(self, kind: str, name: str, namespace: str = "default") -> Object:
        """Return an object of a built-in kind. Raises InstanceRequestFailed."""
        found: Object = self.request("GET", f"{_path({'kind': kind}, namespace)}/{quote(name)}")
        return found

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object of a built-in kind. Raises InstanceRequestFailed."""
        self.request("DELETE", f"{_path({'kind': kind}, namespace)}/{quote(name)}")

    def create_namespace(self, name: str, *, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace, unless it exists."""
        self._create_or_keep(
            {"kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        )

    def create_account(
        self, account: str, client_id: str = "", *, annotations: Mapping[str, str] | None = None
    ) -> None:
        """Create a ServiceAccount that is annotated with a client ID; an existing one gets the annotation."""
        namespace, name = _split(account)
        if namespace != "default":
            self.create_namespace(namespace)
        chosen = {**({names.CLIENT_ID: client_id} if client_id else {}), **(annotations or {})}
        obj = {"kind": "ServiceAccount", "metadata": {"name": name, "annotations": chosen}}
        if not self._create_or_keep(obj, namespace) and chosen:
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{quote(name)}"
            self.request("PATCH", path, {"metadata": {"annotations": chosen}})

    def request_token(self, account: str, audience: str = names.EXCHANGE_AUDIENCE) -> str:
        """Request a token of a ServiceAccount. Raises InstanceRequestFailed."""
        namespace, name = _split(account)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{quote(name)}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience]},
        }
        return str(self.request("POST", path, body)["status"]["token"])

    def run(
        self,
        account: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> "PodResult":
        """Run a command in a pod of a ServiceAccount, with workload identity; return its phase and log.

        Raises InstanceRequestFailed; Error if the pod did not end within 30 seconds of its last change.
        """
        namespace, name = _split(account)
        variables = [{"name": key, "value": value} for key, value in (env or {}).items()]
        container = {"name": "app", "image": "none", "command": [*command], "env": variables}
        spec = {"serviceAccountName": name, "restartPolicy": "Never", "containers": [container]}
        chosen = {names.USE_LABEL: "true"} if labels is None else dict(labels)
        meta = {"generateName": f"{name}-", "labels": chosen}
        pod = self.create({"kind": "Pod", "metadata": meta, "spec": spec}, namespace=namespace)
        path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
        phase = self._wait_for_end(pod)
        return PodResult(phase=phase, log=str(self.request("GET", f"{path}/log") or ""))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _wait_for_end(self, pod: Object) -> str:
        """Return the phase of a pod that has ended."""
        meta = pod["metadata"]
        query = f"watch=1&fieldSelector=metadata.name={meta['name']}"
        query += f"&resourceVersion={meta['resourceVersion']}"
        watch = ServiceConnection(*self._target).lines(
            f"/api/v1/namespaces/{meta['namespace']}/pods?{query}"
        )
        try:
            for event in watch:
                phase = str((event["object"].get("status") or {}).get("phase"))
                if phase in _ENDED or event["type"] == "DELETED":
                    return phase
        except TimeoutError:
            pass
        finally:
            watch.close()
        raise Error(f"the pod {meta['namespace']}/{meta['name']} did not end")

    def _create_or_keep(self, obj: Object, namespace: str = "default") -> bool:
        """Create an object; return False if it exists."""
        try:
            self.create(obj, namespace=namespace)
        except InstanceRequestFailed as exc:
            if exc.status != _CONFLICT:
                raise
            return False
        return True


class PodResult:
    """The phase and the log of a pod that has ended."""

    def __init__(self, *, phase: str, log: str) -> None:
        self.phase, self.log = phase, log

    def __repr__(self) -> str:
        return f"PodResult(phase={self.phase!r}, log={self.log!r})"


def _path(obj: Object, namespace: str) -> str:
    """Return the path of a kind's objects; add the version to an object that has none."""
    from kubeling.apiserver.kinds import kind_by_name

    kind = kind_by_name(obj["kind"])
    obj.setdefault("apiVersion", kind.api_version)
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    if not kind.namespaced:
        return f"{root}/{kind.plural}"
    chosen = (obj.get("metadata") or {}).get("namespace") or namespace
    return f"{root}/namespaces/{chosen}/{kind.plural}"


def _split(account: str) -> tuple[str, str]:
    namespace, _, name = account.rpartition("/")
    return namespace or "default", name
