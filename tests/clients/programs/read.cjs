// Read the secret `greeting` with @azure/identity: STYLE (default|chained|workload).
const identity = require("@azure/identity");
const { SecretClient } = require("@azure/keyvault-secrets");

const credentials = {
  default: () => new identity.DefaultAzureCredential(),
  chained: () =>
    new identity.ChainedTokenCredential(
      new identity.EnvironmentCredential(),
      new identity.WorkloadIdentityCredential(),
    ),
  workload: () => new identity.WorkloadIdentityCredential(),
};

async function main() {
  const client = new SecretClient("https://journey-vault.vault.azure.net", credentials[process.argv[2]]());
  console.log((await client.getSecret("greeting")).value);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
