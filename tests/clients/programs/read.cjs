// Read the secret `greeting` with @azure/identity: STYLE (default|chained|workload).
const identity = require("@azure/identity");
const { SecretClient } = require("@azure/keyvault-secrets");

// 3.2.0 has no defaults of its own outside DefaultAzureCredential.
const workload = () =>
  new identity.WorkloadIdentityCredential({
    tenantId: process.env.AZURE_TENANT_ID,
    clientId: process.env.AZURE_CLIENT_ID,
    tokenFilePath: process.env.AZURE_FEDERATED_TOKEN_FILE,
    federatedTokenFilePath: process.env.AZURE_FEDERATED_TOKEN_FILE,
  });

const credentials = {
  default: () => new identity.DefaultAzureCredential(),
  chained: () =>
    new identity.ChainedTokenCredential(new identity.EnvironmentCredential(), workload()),
  workload,
};

async function main() {
  const client = new SecretClient("https://journey-vault.vault.azure.net", credentials[process.argv[2]]());
  console.log((await client.getSecret("greeting")).value);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
