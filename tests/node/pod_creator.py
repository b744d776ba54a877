"""Create labelled pods directly, one after the other, until SIGTERM; print one line for each.

`pod_creator.py SERVER CA CERTIFICATE KEY NAMESPACE`. A line is `mutated`, `unmutated`, or what was refused.
A controller would hide a refusal by trying again.
"""

import http.client
import itertools
import json
import signal
import ssl
import sys
import time
from urllib.parse import urlsplit

from tests.node.objects import PENDING, container, is_mutated, pod

# Short enough that a pod is created in every phase of a change; long enough not to overload the cluster.
_PAUSE_SECONDS = 0.1


def main() -> None:
    """Create pods until SIGTERM."""
    server, ca, certificate, key, namespace = sys.argv[1:]
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    connection = http.client.HTTPSConnection(urlsplit(server).netloc, context=context, timeout=60)
    path = f"/api/v1/namespaces/{namespace}/pods"
    for number in itertools.count():
        body = pod(f"direct-{number}", namespace, container(()), **PENDING)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        found = json.loads(response.read())
        if response.status != 201:
            print(f"refused: {found['message']}", flush=True)
        else:
            print("mutated" if is_mutated(found) else "unmutated", flush=True)
        if ended:
            return
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
