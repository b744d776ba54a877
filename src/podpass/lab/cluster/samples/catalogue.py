"""All samples, and how each is built."""

import sys

from podpass.lab.cluster.samples.model import REPOSITORY, Sample, Step, Tool

_NODE = Tool(program="node", get="install Node.js 20 or newer")
_NPM = Tool(program="npm", get="install npm, which comes with Node.js")
_GO = Tool(program="go", get="install Go 1.23 or newer")
_JAVA = Tool(program="java", get="install a Java runtime, 17 or newer")
_JAVAC = Tool(program="javac", get="install a JDK, 17 or newer")
_MAVEN = Tool(program="mvn", get="install Maven 3.8 or newer")
_DOTNET = Tool(program="dotnet", get="install the .NET SDK, 8 or newer")

_PYTHON = Sample(
    name="msal-python",
    folder="python",
    build_tools=(),
    steps=(
        Step(
            message="creating a Python environment",
            argv=(sys.executable, "-m", "venv", "environment"),
        ),
        Step(
            message="installing msal, azure-identity and azure-keyvault-secrets",
            argv=(
                *("environment/bin/python", "-m", "pip", "install", "--disable-pip-version-check"),
                *("-r", "requirements.txt"),
            ),
        ),
    ),
    run=("{built}/environment/bin/python", "{built}/main.py"),
    modules=("msal", "azure.identity", "azure.keyvault.secrets"),
)
_NODE_SAMPLE = Sample(
    name="msal-node",
    folder="node",
    build_tools=(_NPM,),
    run_tools=(_NODE,),
    steps=(
        Step(
            message="installing @azure/msal-node, @azure/identity and @azure/keyvault-secrets",
            argv=("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"),
        ),
    ),
    run=("node", "{built}/index.js"),
)
_GO_SAMPLE = Sample(
    name="msal-go",
    folder="go",
    build_tools=(_GO,),
    steps=(
        Step(
            message="fetching MSAL for Go, azidentity and azsecrets, and compiling (minutes the first time)",
            argv=("go", "build", "-trimpath", "-o", "sample", "."),
            # Without cgo the build needs no C compiler; -mod=readonly refuses modules outside go.sum.
            settings=(("CGO_ENABLED", "0"), ("GOFLAGS", "-mod=readonly")),
        ),
    ),
    run=("{built}/sample",),
)
_JAVA_SAMPLE = Sample(
    name="msal-java",
    folder="java",
    build_tools=(_JAVAC, _MAVEN),
    run_tools=(_JAVA,),
    steps=(
        Step(
            message="fetching msal4j and the Azure SDK, and compiling (minutes the first time)",
            argv=(
                *("mvn", "-B", "-ntp", "compile", "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", "-DoutputDirectory=target/lib"),
            ),
        ),
    ),
    run=("java", "-cp", "{built}/target/classes:{built}/target/lib/*", "sample.Main"),
)
_NET_SAMPLE = Sample(
    name="msal-net",
    folder="net",
    build_tools=(_DOTNET,),
    run_tools=(_DOTNET,),
    steps=(
        Step(
            message="fetching MSAL.NET and the Azure SDK, and compiling (minutes the first time)",
            argv=("dotnet", "publish", "-c", "Release", "-o", "out", "--nologo"),
            settings=(("DOTNET_CLI_TELEMETRY_OPTOUT", "1"), ("DOTNET_NOLOGO", "1")),
        ),
    ),
    run=("dotnet", "{built}/out/sample.dll"),
)

SAMPLES = (_PYTHON, _NODE_SAMPLE, _GO_SAMPLE, _JAVA_SAMPLE, _NET_SAMPLE)


def find_by_image(image: str) -> Sample | None:
    """Find a sample by its image, without a tag."""
    return next((sample for sample in SAMPLES if sample.image == image), None)


def find_by_name(name: str) -> Sample | None:
    """Find a sample by its image, or by the last part of the image name."""
    return find_by_image(name) or find_by_image(f"{REPOSITORY}/{name}")
