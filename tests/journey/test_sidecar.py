"""Pods of a local instance that know only IMDS read a secret through the built-in sidecar."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.client import ApiException

from podpass import names
from tests.journey.instance import Instance

pytestmark = pytest.mark.processes

INJECT = {names.INJECT_PROXY: "true"}
ENV = INJECT | {names.PROXY_MODE: "env"}
# Without the variables of App Service, the newest release would use the token file and not the sidecar.
SDK = """
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
client = SecretClient("https://journey-vault.vault.azure.net", ManagedIdentityCredential())
print(client.get_secret("greeting").value)
"""
IMDS = """
import json, urllib.error, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
base = "http://169.254.169.254/metadata/"
query = "identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
request = urllib.request.Request(base + query, headers={"Metadata": "true"})
token = json.load(direct.open(request, timeout=30))["access_token"]
secret = "https://journey-vault.vault.azure.net/secrets/greeting?api-version=7.4"
request = urllib.request.Request(secret, headers={"Authorization": "Bearer " + token})
print(json.load(urllib.request.urlopen(request, timeout=30))["value"])
try:
    direct.open(base + "instance", timeout=30)
except urllib.error.HTTPError as exc:
    print(exc.code, exc.read().decode().strip())
"""
# A tunnel to a program of the machine: the gateway runs there.
TUNNEL = """
import http.client, os, sys, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"]).netloc
connection = http.client.HTTPConnection(proxy, timeout=30)
connection.set_tunnel("localhost", int(sys.argv[1]))
try:
    connection.connect()
    print("connected")
except OSError as exc:
    print(exc)
"""
needs_namespace = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("nsenter") or not shutil.which("iptables"),
    reason="the mode iptables needs root, nsenter and iptables",
)


def _sidecar_events(instance: Instance, pod: str) -> list[str]:
    lines = instance.pod_log(pod, names.PROXY_CONTAINER).splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_sidecars_of_several_pods_on_one_machine_do_not_conflict_in_mode_env(
    instance: Instance,
) -> None:
    """Each sidecar listens on port 8000; the pods share one loopback interface."""
    pods = ["env-a", "env-b", "env-c"]
    for name in pods:
        instance.create_pod(name, "web", ["python", "-c", SDK], annotations=ENV)
    for name in pods:
        phase, printed = instance.wait_for_end(name)
        assert (phase, printed) == ("Succeeded", "hello\n")
        events = _sidecar_events(instance, name)
        assert "received token request" in events
        assert "successfully acquired token" in events
        traced = json.loads(instance.podpass("trace", f"pod/{name}", "-o", "json").stdout)
        [imds] = [each for each in traced if each["stage"] == "imds"]
        assert imds["facts"]["confirmed"] is True
        [exchange] = [each for each in traced if each["stage"] == "exchange"]
        assert imds["correlation_id"] == exchange["correlation_id"]


@needs_namespace
def test_pod_of_the_mode_iptables_reads_a_secret_from_the_metadata_address(
    instance: Instance,
) -> None:
    rules = ["iptables", "-t", "nat", "-S"]
    before = subprocess.run(rules, capture_output=True, check=True).stdout
    instance.create_pod("redirected", "web", ["python", "-c", IMDS], annotations=INJECT)
    phase, printed = instance.wait_for_end("redirected")
    assert phase == "Succeeded", printed
    # Nothing is forwarded: the machine may be an Azure virtual machine.
    assert printed.splitlines() == ["hello", "404 this sidecar answers token requests only"]
    assert "169.254.169.254" in instance.pod_log("redirected", names.PROXY_INIT_CONTAINER)
    assert "successfully acquired token" in _sidecar_events(instance, "redirected")
    assert subprocess.run(rules, capture_output=True, check=True).stdout == before


@needs_namespace
def test_pod_with_its_own_network_cannot_connect_to_a_port_of_the_machine(
    instance: Instance,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = ["python", "-c", TUNNEL, str(server.getsockname()[1])]
        instance.create_pod("shared", "web", command, hostNetwork=True)
        instance.create_pod("own", "web", command, annotations=INJECT)
        assert instance.wait_for_end("shared")[1] == "connected\n"
        assert "502 Bad Gateway" in instance.wait_for_end("own")[1]


def test_stopped_container_is_named_by_status(instance: Instance) -> None:
    instance.create_pod("stopped", "web", ["sh", "-c", "echo $$$$; exec sleep 600"], labels={})
    pid = _wait_for(lambda: instance.pod_log("stopped"), "the pod did not start").strip()
    os.kill(int(pid), signal.SIGSTOP)
    done = _wait_for(lambda: _status_with_stopped(instance), "the status has no stopped container")
    assert done.stderr.startswith(f"podpass: default/stopped: app (process {pid}) does not respond")
    instance.core.delete_namespaced_pod("stopped", "default", grace_period_seconds=0)


def _status_with_stopped(instance: Instance) -> Any:
    done = instance.podpass("status", "-o", "json")
    return done if json.loads(done.stdout)["stopped_containers"] else None


def _wait_for(get: Callable[[], Any], failure: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(ApiException):
            if found := get():
                return found
        time.sleep(0.1)
    raise AssertionError(failure)
