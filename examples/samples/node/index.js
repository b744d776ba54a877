// Read a secret from Key Vault in a loop. MSAL gets the access token: it sends the pod's ServiceAccount
// token as client assertion.
//
// Secret: KEYVAULT_URL (or KEYVAULT_NAME) and SECRET_NAME. Identity: AZURE_CLIENT_ID, AZURE_TENANT_ID,
// AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE, which the Workload ID webhook adds to the pod.
// CREDENTIAL=azure-identity uses Azure Identity instead of MSAL. INTERVAL_SECONDS sets the pause, 60 by default.

const { readFile } = require("node:fs/promises");
const { setTimeout: sleep } = require("node:timers/promises");
const {
  createDefaultHttpClient,
  createEmptyPipeline,
  createHttpHeaders,
  createPipelineRequest,
  proxyPolicy,
} = require("@azure/core-rest-pipeline");
const { DefaultAzureCredential } = require("@azure/identity");
const { SecretClient } = require("@azure/keyvault-secrets");
const { ConfidentialClientApplication } = require("@azure/msal-node");

function setting(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`"${name} is not set"`);
    process.exit(1);
  }
  return value;
}

// MSAL's HTTP client ignores proxy settings. The Azure SDK's pipeline reads HTTPS_PROXY and NO_PROXY.
class NetworkClient {
  constructor() {
    this.http = createDefaultHttpClient();
    this.pipeline = createEmptyPipeline();
    this.pipeline.addPolicy(proxyPolicy());
  }

  async send(method, url, options = {}) {
    const headers = createHttpHeaders(options.headers);
    const request = createPipelineRequest({ url, method, headers, body: options.body });
    const answer = await this.pipeline.sendRequest(this.http, request);
    return {
      headers: answer.headers.toJSON(),
      body: JSON.parse(answer.bodyAsText || "{}"),
      status: answer.status,
    };
  }

  sendGetRequestAsync(url, options) {
    return this.send("GET", url, options);
  }

  sendPostRequestAsync(url, options) {
    return this.send("POST", url, options);
  }
}

// Credential for the Key Vault client: MSAL with the token file as client assertion.
class MsalCredential {
  constructor() {
    const file = setting("AZURE_FEDERATED_TOKEN_FILE");
    const host = setting("AZURE_AUTHORITY_HOST").replace(/\/*$/, "/");
    this.app = new ConfidentialClientApplication({
      auth: {
        clientId: setting("AZURE_CLIENT_ID"),
        authority: host + setting("AZURE_TENANT_ID"),
        // A function, so that each request reads the file again: the kubelet rotates the token in it.
        clientAssertion: () => readFile(file, "utf8"),
      },
      system: { networkClient: new NetworkClient() },
    });
  }

  async getToken(scopes) {
    const answer = await this.app.acquireTokenByClientCredential({ scopes: [].concat(scopes) });
    return { token: answer.accessToken, expiresOnTimestamp: answer.expiresOn.getTime() };
  }
}

// Return the vault URL from KEYVAULT_URL, or from KEYVAULT_NAME, which older manifests set.
function vault() {
  const name = process.env.KEYVAULT_NAME;
  return process.env.KEYVAULT_URL || (name ? `https://${name}.vault.azure.net` : setting("KEYVAULT_URL"));
}

async function main() {
  const ended = new AbortController();
  process.on("SIGTERM", () => ended.abort());
  const [url, name] = [vault(), setting("SECRET_NAME")];
  const credential =
    process.env.CREDENTIAL === "azure-identity" ? new DefaultAzureCredential() : new MsalCredential();
  const client = new SecretClient(url, credential);
  const milliseconds = Number(process.env.INTERVAL_SECONDS || 60) * 1000;
  while (!ended.signal.aborted) {
    try {
      const { value } = await client.getSecret(name);
      console.log(`"successfully got secret" secret=${JSON.stringify(value)}`);
    } catch (error) {
      const why = JSON.stringify(String(error.message));
      console.error(`"failed to get secret" keyvault="${url}" secretName="${name}" error=${why}`);
      process.exit(1);
    }
    await sleep(milliseconds, undefined, { signal: ended.signal }).catch(() => {});
  }
}

main();
