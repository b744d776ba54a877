// Read the secret as a job of a pipeline, with @azure/identity and, on GitHub, @actions/core: TENANT CLIENT.
const identity = require("@azure/identity");
const { SecretClient } = require("@azure/keyvault-secrets");

async function credential(tenant, client) {
  const { env } = process;
  if ("SYSTEM_OIDCREQUESTURI" in env) {
    const connection = env.AZURESUBSCRIPTION_SERVICE_CONNECTION_ID;
    return new identity.AzurePipelinesCredential(tenant, client, connection, env.SYSTEM_ACCESSTOKEN);
  }
  // The package has only ES modules.
  const { getIDToken } = await import("@actions/core");
  return new identity.ClientAssertionCredential(tenant, client, () =>
    getIDToken("api://AzureADTokenExchange"),
  );
}

async function main(tenant, client) {
  const vault = new SecretClient(
    "https://pipelines-vault.vault.azure.net",
    await credential(tenant, client),
  );
  console.log(JSON.stringify({ secret: (await vault.getSecret("greeting")).value }));
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
