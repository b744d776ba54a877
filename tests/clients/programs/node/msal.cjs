// Read the secret and get tokens with @azure/msal-node: STYLE (string|callback) SCOPE [LATER].
const { createDefaultHttpClient, createPipelineRequest, createHttpHeaders, proxyPolicy, createEmptyPipeline } =
  require("@azure/core-rest-pipeline");
const { ConfidentialClientApplication } = require("@azure/msal-node");
const { version } = require("@azure/msal-node/package.json");
const { SecretClient } = require("@azure/keyvault-secrets");
const { DIRECT, VAULT, assertion, audience, run, say, waitForAnother } = require("./answer.cjs");

// MSAL for Node ignores proxy variables; Azure's HTTP client reads them.
const pipeline = createEmptyPipeline();
pipeline.addPolicy(proxyPolicy());
const http = createDefaultHttpClient();

async function send(method, url, options = {}) {
  const request = createPipelineRequest({ url, method, body: options.body });
  request.headers = createHttpHeaders(options.headers);
  const answer = await pipeline.sendRequest(http, request);
  return { status: answer.status, headers: answer.headers.toJSON(), body: JSON.parse(answer.bodyAsText) };
}

const app = (style) =>
  new ConfidentialClientApplication({
    auth: {
      clientId: process.env.AZURE_CLIENT_ID,
      authority: process.env.AZURE_AUTHORITY_HOST + process.env.AZURE_TENANT_ID,
      // Otherwise MSAL asks the real service whether this authority is known.
      knownAuthorities: DIRECT ? [new URL(process.env.AZURE_AUTHORITY_HOST).host] : [],
      clientAssertion: style === "callback" ? async () => assertion() : assertion(),
    },
    system: {
      networkClient: {
        sendGetRequestAsync: (url, options) => send("GET", url, options),
        sendPostRequestAsync: (url, options) => send("POST", url, options),
      },
    },
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
