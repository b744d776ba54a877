// Request tokens with one credential, azure or msal: each input line is a scope; each output line is a JSON object
// with the result.
const fs = require("node:fs");
const readline = require("node:readline");

const { AZURE_AUTHORITY_HOST, AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID } = process.env;
const assertion = () => fs.readFileSync(AZURE_FEDERATED_TOKEN_FILE, "utf8");

function azure() {
  const { WorkloadIdentityCredential } = require("@azure/identity");
  const credential = new WorkloadIdentityCredential({
    tenantId: AZURE_TENANT_ID,
    clientId: AZURE_CLIENT_ID,
    tokenFilePath: AZURE_FEDERATED_TOKEN_FILE,
    federatedTokenFilePath: AZURE_FEDERATED_TOKEN_FILE,
    disableInstanceDiscovery: true,
  });
  return async (scope) => (await credential.getToken(scope)).token;
}

function msal() {
  const { ConfidentialClientApplication } = require("@azure/msal-node");
  const authority = AZURE_AUTHORITY_HOST + AZURE_TENANT_ID;
  const app = new ConfidentialClientApplication({
    auth: {
      clientId: AZURE_CLIENT_ID,
      authority,
      knownAuthorities: [new URL(AZURE_AUTHORITY_HOST).host],
      clientAssertion: async () => assertion(),
    },
  });
  return async (scope) => (await app.acquireTokenByClientCredential({ scopes: [scope] })).accessToken;
}

(async () => {
  const ask = { azure, msal }[process.argv[2]]();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      console.log(JSON.stringify({ token: await ask(line.trim()) }));
    } catch (error) {
      console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
    }
  }
})();
