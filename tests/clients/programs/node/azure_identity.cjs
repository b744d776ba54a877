// Read the secret and get tokens with @azure/identity: STYLE (default|chained|workload) SCOPE [LATER].
const identity = require("@azure/identity");
const { version } = require("@azure/identity/package.json");
const { SecretClient } = require("@azure/keyvault-secrets");
const { DIRECT, VAULT, assertion, audience, run, say, waitForAnother } = require("./answer.cjs");

// Otherwise the library asks the real service whether this authority is known.
const options = { disableInstanceDiscovery: DIRECT };

// 3.2.0 has no defaults outside DefaultAzureCredential, and uses another name for the file option.
const workload = () =>
  new identity.WorkloadIdentityCredential({
    tenantId: process.env.AZURE_TENANT_ID,
    clientId: process.env.AZURE_CLIENT_ID,
    tokenFilePath: process.env.AZURE_FEDERATED_TOKEN_FILE,
    federatedTokenFilePath: process.env.AZURE_FEDERATED_TOKEN_FILE,
    ...options,
  });

const credentials = {
  default: () => new identity.DefaultAzureCredential(options),
  chained: () =>
    new identity.ChainedTokenCredential(new identity.EnvironmentCredential(), workload()),
  workload,
};

run(async (style, scope, later) => {
  const first = assertion();
  const credential = credentials[style]();
  const vault = new SecretClient(VAULT, credential);
  const secret = DIRECT ? "" : (await vault.getSecret("greeting")).value;
  say({ secret, audience: audience((await credential.getToken(scope)).token), version });
  if (later) {
    await waitForAnother(first);
    say({ later: audience((await credential.getToken(later)).token) });
  }
});
