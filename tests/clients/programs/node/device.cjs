// Sign a user in with a device code and @azure/msal-node: CLIENT SCOPE.
const { PublicClientApplication } = require("@azure/msal-node");
const { version } = require("@azure/msal-node/package.json");
const { audience, run, say } = require("./answer.cjs");
const { networkClient } = require("./network.cjs");

run(async (clientId, scope) => {
  const authority = process.env.AZURE_AUTHORITY_HOST + process.env.AZURE_TENANT_ID;
  const app = new PublicClientApplication({ auth: { clientId, authority }, system: { networkClient } });
  const answer = await app.acquireTokenByDeviceCode({
    scopes: [scope],
    deviceCodeCallback: ({ verificationUri, userCode }) => say({ page: verificationUri, code: userCode }),
  });
  say({ user: answer.account.username, audience: audience(answer.accessToken), version });
});
