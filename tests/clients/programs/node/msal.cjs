// Read the secret and get tokens with @azure/msal-node: STYLE (string|callback) SCOPE [LATER].
const { ConfidentialClientApplication } = require("@azure/msal-node");
const { version } = require("@azure/msal-node/package.json");
const { SecretClient } = require("@azure/keyvault-secrets");
const { DIRECT, VAULT, assertion, audience, run, say, waitForAnother } = require("./answer.cjs");
const { networkClient } = require("./network.cjs");

const app = (style) =>
  new ConfidentialClientApplication({
    auth: {
      clientId: process.env.AZURE_CLIENT_ID,
      authority: process.env.AZURE_AUTHORITY_HOST + process.env.AZURE_TENANT_ID,
      // Otherwise MSAL asks the real service whether this authority is known.
      knownAuthorities: DIRECT ? [new URL(process.env.AZURE_AUTHORITY_HOST).host] : [],
      clientAssertion: style === "callback" ? async () => assertion() : assertion(),
    },
    system: { networkClient },
  });

// The credential interface of Azure's clients.
const credentialOf = (msal) => ({
  getToken: async (scopes) => {
    const answer = await msal.acquireTokenByClientCredential({ scopes: [scopes].flat() });
    return { token: answer.accessToken, expiresOnTimestamp: answer.expiresOn.getTime() };
  },
});

run(async (style, scope, later) => {
  const first = assertion();
  const credential = credentialOf(app(style));
  const vault = new SecretClient(VAULT, credential);
  const secret = DIRECT ? "" : (await vault.getSecret("greeting")).value;
  say({ secret, audience: audience((await credential.getToken(scope)).token), version });
  if (later) {
    await waitForAnother(first);
    say({ later: audience((await credential.getToken(later)).token) });
  }
});
