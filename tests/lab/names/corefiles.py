"""Corefiles of the distributions, and the answers that the tests add to them."""

from podpass.lab.names.corefile import Answers
from podpass.lab.names.served_names import list_zones

SERVED = (
    *("login.microsoftonline.com", "login.windows.net", "graph.microsoft.com"),
    *("management.azure.com", "vault.azure.net", "*.vault.azure.net", "*.oic.prod-aks.azure.com"),
)
ANSWERS = Answers(
    zones=list_zones(SERVED), resolver="10.96.3.4", owner="podpass-cloud/podpass-cloud"
)
_PLUGINS = """\
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
"""
KUBEADM = f""".:53 {{
{_PLUGINS}    prometheus :9153
    forward . /etc/resolv.conf {{
       max_concurrent 1000
    }}
    cache 30 {{
       disable success cluster.local
       disable denial cluster.local
    }}
    loop
    reload
    loadbalance
}}
"""
MINIKUBE = f""".:53 {{
    log
{_PLUGINS}    prometheus :9153
    hosts {{
       192.168.49.1 host.minikube.internal
       fallthrough
    }}
    forward . /etc/resolv.conf {{
       max_concurrent 1000
    }}
    cache 30
    loop
    reload
    loadbalance
}}
"""
# Docker Desktop's ends without a line feed where its ConfigMap is written with `|-`.
DOCKER_DESKTOP = KUBEADM.rstrip("\n")
K3S = f""".:53 {{
{_PLUGINS}    hosts /etc/coredns/NodeHosts {{
      ttl 60
      reload 15s
      fallthrough
    }}
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    import /etc/coredns/custom/*.override
}}
import /etc/coredns/custom/*.server
"""
AKS = K3S.replace("/etc/coredns/custom/", "custom/").replace(
    "    hosts /etc/coredns/NodeHosts {\n      ttl 60\n      reload 15s\n      fallthrough\n    }\n",
    "",
)
COREFILES = {
    "kubeadm": KUBEADM,
    "minikube": MINIKUBE,
    "docker-desktop": DOCKER_DESKTOP,
    "k3s": K3S,
    "aks": AKS,
}
