// Read a secret with each managed identity credential of Node: CHECK... prints one result for each.
// CHECK is managed, default, nodeauth-vm or nodeauth-app, and may have `=CLIENT_ID`: then the secret is that of
// the second vault.
const { say } = require("./answer.cjs");

const vaultFor = (clientId) =>
  `https://${clientId ? "second-vault" : "journey-vault"}.vault.azure.net`;

async function withIdentity(style, clientId) {
  const identity = require("@azure/identity");
  const { SecretClient } = require("@azure/keyvault-secrets");
  const credential =
    style === "default"
      ? new identity.DefaultAzureCredential(clientId ? { managedIdentityClientId: clientId } : {})
      : clientId
        ? new identity.ManagedIdentityCredential(clientId)
        : new identity.ManagedIdentityCredential();
  return (await new SecretClient(vaultFor(clientId), credential).getSecret("greeting")).value;
}

// The library of applications before @azure/identity.
async function withNodeauth(style, clientId) {
  const { loginWithVmMSI, loginWithAppServiceMSI } = require("@azure/ms-rest-nodeauth");
  const { ServiceClient } = require("@azure/ms-rest-js");
  const login = style === "nodeauth-vm" ? loginWithVmMSI : loginWithAppServiceMSI;
  const credential = await login({ resource: "https://vault.azure.net", clientId });
  const client = new ServiceClient(credential, { proxySettings: gateway() });
  const answer = await client.sendRequest({
    method: "GET",
    url: `${vaultFor(clientId)}/secrets/greeting?api-version=7.4`,
  });
  return answer.parsedBody.value;
}

function gateway() {
  const proxy = new URL(process.env.HTTPS_PROXY);
  return { host: `${proxy.protocol}//${proxy.hostname}`, port: Number(proxy.port) };
}

async function main(checks) {
  const nodeauth = checks[0].startsWith("nodeauth");
  const library = nodeauth ? "@azure/ms-rest-nodeauth" : "@azure/identity";
  say({ version: require(`${library}/package.json`).version });
  for (const check of checks) {
    const [style, clientId] = check.split("=");
    const read = nodeauth ? withNodeauth : withIdentity;
    try {
      say({ [check]: await read(style, clientId) });
    } catch (error) {
      say({ [check]: `${error.name}: ${error.message}` });
    }
  }
}

main(process.argv.slice(2)).then(() => process.exit(0));
