"""Record `kubeling/tests/vectors/built_in_kinds.json` from a real API server of the newest served release.

    python -m bench.peers.kubernetes 1.37.2
    python -m tests.control_plane.record_built_in_kinds ~/.cache/podpass/peers/kubernetes-1.37.2

For every stored kind: an object as it is created, and its table. Also the discovery document. No controllers
run, because they would change the objects.
"""

import asyncio
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from kubeling.apiserver.kinds import KINDS

from podpass.lab.cluster.control_plane.programs import ASSETS, find
from tests.control_plane import plane
from tests.kubeling.modules import load

objects = load("apiserver/built_in_objects.py")
TARGET = Path(__file__).parents[2] / "kubeling" / "tests" / "vectors" / "built_in_kinds.json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
# A pod has fields of the ServiceAccount admission, which does not run without controllers; the other vectors
# have pods. A PodCertificateRequest needs a request that is signed with the key of a running pod.
NOT_RECORDED = ("Pod", "PodCertificateRequest")
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def record(server: plane.PlaneThread) -> dict[str, Any]:
    async with server.admin() as client:
        recorded: dict[str, Any] = {"version": (await client.get("/version"))["gitVersion"]}
        recorded["discovery"] = {
            root: json.loads(await client.text(root, accept=DISCOVERY))
            for root in ("/api", "/apis")
        }
        recorded["objects"] = {}
        for kind in (each for each in KINDS if each.stored and each.kind not in NOT_RECORDED):
            body = objects.new_body(kind, "recorded")
            path = objects.collection(kind)
            one = f"{path}/{body['metadata']['name']}"
            made = await client.create(path, body)
            table = json.loads(await client.text(one, accept=TABLE))
            await client.delete(one)
            for column in table["columnDefinitions"]:
                del column["description"]
            recorded["objects"][objects.name_of(kind)] = {
                "made": made,
                "columns": table["columnDefinitions"],
                "cells": table["rows"][0]["cells"],
            }
        return recorded


def main() -> None:
    found = find({ASSETS: sys.argv[1]})
    plane.programs = lambda: dataclasses.replace(found, controllers=None)
    with tempfile.TemporaryDirectory() as folder:
        server = plane.PlaneThread(Path(folder))
        try:
            server.start()
            recorded = asyncio.run(record(server))
        finally:
            server.close()
    TARGET.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"{TARGET}: {len(recorded['objects'])} kinds of {recorded['version']}")


if __name__ == "__main__":
    main()
