"""Settings of the cloud half, with a cluster half (`podpass up`) or alone (`podpass cloud serve`)."""

from dataclasses import dataclass
from pathlib import Path

from podpass.errors import SettingsError
from podpass.settings.authority import ALGORITHMS, WANT_PRIVATE, is_private_name
from podpass.settings.fields import setting
from podpass.settings.storage import parse_services

# The platforms whose tokens an instance can sign itself.
PIPELINES = ("github", "gitlab", "terraform", "azure-devops")
# An instance fetches the keys of an issuer for an unknown key ID at most once in this time.
REFETCH_SECONDS = 5
_MAX_PROPAGATION = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSettings:
    """Settings that every cloud half has."""

    data_dir: Path = setting(
        "data directory of the instance; created if it does not exist",
        flag="--data-dir",
        variable="PODPASS_DATA_DIR",
        shown="$XDG_STATE_HOME/podpass",
    )
    propagation_seconds: int = setting(
        "seconds until a new federated credential is trusted; in Entra this takes up to two minutes",
        flag="--propagation-delay",
        variable="PODPASS_PROPAGATION_DELAY",
        default=0,
    )
    assertion_algorithms: str = setting(
        "comma-separated signature algorithms that are accepted in pods' tokens; Entra accepts the RSA "
        "algorithms, ES256 and ES384 are an extension",
        flag="--assertion-algorithm",
        variable="PODPASS_ASSERTION_ALGORITHM",
        default="RS256,RS384,RS512",
    )
    require_pod_claims: bool = setting(
        "refuse tokens of ServiceAccounts without a pod; AKS may require it (kubernetes#131740)",
        flag="--require-pod-claims",
        variable="PODPASS_REQUIRE_POD_CLAIMS",
        default=False,
    )
    flexible_kubernetes: bool = setting(
        "allow expressions of flexible federated credentials for the cluster's ServiceAccounts "
        "(system:serviceaccount:env-*:NAME); Entra allows no cluster",
        flag="--flexible-kubernetes",
        variable="PODPASS_FLEXIBLE_KUBERNETES",
        default=False,
    )
    allow_wide: bool = setting(
        "permit such expressions that do not fix the beginning of the namespace up to a '-'",
        flag="--allow-wide",
        variable="PODPASS_ALLOW_WIDE",
        default=False,
    )
    pipelines: str = setting(
        f"comma-separated platforms of pipelines whose tokens this instance signs: {', '.join(PIPELINES)}; "
        "it then refuses the real tokens of these platforms",
        flag="--pipelines",
        variable="PODPASS_PIPELINES",
        default="",
    )
    private_issuers: str = setting(
        "comma-separated host names of issuers that may have private addresses, or networks (127.0.0.0/8) "
        "that any issuer's address may be in; for one issuer alone, write `issuers:` in the seed",
        flag="--private-issuer",
        variable="PODPASS_PRIVATE_ISSUER",
        default="",
    )
    issuer_ca_file: str = setting(
        "PEM file of a CA that, in addition to the system's CAs, is trusted for those private issuers",
        flag="--issuer-ca-file",
        variable="PODPASS_ISSUER_CA_FILE",
        default="",
    )
    azurite: str = setting(
        "address of Azurite's blob service, http://HOST:PORT, with queues and tables on the next two ports, "
        "or blob=URL,queue=URL,table=URL; without it, no storage accounts are served",
        flag="--azurite",
        variable="PODPASS_AZURITE",
        default="",
    )

    @property
    def private_issuer_names(self) -> tuple[str, ...]:
        """Return the host names and networks of private issuers."""
        return tuple(each for each in self.private_issuers.split(",") if each)

    def list_problems(self) -> list[str]:
        """Return what is wrong with these settings."""
        problems: list[str] = []
        try:
            parse_services(self.azurite)
        except SettingsError as exc:
            problems += exc.problems
        if unknown := set(self.assertion_algorithms.split(",")) - set(ALGORITHMS):
            given = f"--assertion-algorithm {self.assertion_algorithms}"
            problems.append(f"{given}: {sorted(unknown)} must be among {', '.join(ALGORITHMS)}")
        if not 0 <= self.propagation_seconds <= _MAX_PROPAGATION:
            delay = f"--propagation-delay {self.propagation_seconds}"
            problems.append(f"{delay}: must be 0 to {_MAX_PROPAGATION} seconds")
        if unknown := set(self.pipelines.split(",")) - {"", *PIPELINES}:
            given = f"--pipelines {self.pipelines}"
            problems.append(f"{given}: {sorted(unknown)} must be among {', '.join(PIPELINES)}")
        if not all(map(is_private_name, self.private_issuer_names)):
            problems.append(f"--private-issuer {self.private_issuers}: {WANT_PRIVATE}")
        if self.issuer_ca_file and not self.private_issuers:
            problems.append("--issuer-ca-file needs --private-issuer")
        if self.allow_wide and not self.flexible_kubernetes:
            problems.append("--allow-wide needs --flexible-kubernetes")
        return problems
