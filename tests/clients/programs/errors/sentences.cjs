// Read a secret and print the error: KIND (workload|managed). VAULT_URL is the vault.
const identity = require("@azure/identity");
const { SecretClient } = require("@azure/keyvault-secrets");

const options = { retryOptions: { maxRetries: 0 } };
const credentials = {
  // 3.2.0 has no defaults outside DefaultAzureCredential.
  workload: () =>
    new identity.WorkloadIdentityCredential({
      tenantId: process.env.AZURE_TENANT_ID,
      clientId: process.env.AZURE_CLIENT_ID,
      tokenFilePath: process.env.AZURE_FEDERATED_TOKEN_FILE,
      federatedTokenFilePath: process.env.AZURE_FEDERATED_TOKEN_FILE,
      ...options,
    }),
  managed: () => new identity.ManagedIdentityCredential(options),
};

async function main() {
  const client = new SecretClient(process.env.VAULT_URL, credentials[process.argv[2]](), options);
  console.log((await client.getSecret("greeting")).value);
}

main().catch((error) => console.log(`${error.name}: ${error.message}`));
