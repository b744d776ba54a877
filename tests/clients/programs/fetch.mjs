// Node's fetch, which reads no proxy variable before Node 22.21 and 24.
import { readFileSync } from "node:fs";

const { AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE } = process.env;
const form = new URLSearchParams({
  client_id: AZURE_CLIENT_ID,
  grant_type: "client_credentials",
  scope: "https://vault.azure.net/.default",
  client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
  client_assertion: readFileSync(AZURE_FEDERATED_TOKEN_FILE, "utf8"),
});
const login = `https://login.microsoftonline.com/${AZURE_TENANT_ID}/oauth2/v2.0/token`;
const { access_token, error_description } = await (
  await fetch(login, { method: "POST", body: form })
).json();
if (!access_token) throw new Error(error_description);
const url = `https://${process.argv[2]}.vault.azure.net/secrets/greeting?api-version=7.4`;
const answer = await fetch(url, { headers: { authorization: `Bearer ${access_token}` } });
console.log((await answer.json()).value);
