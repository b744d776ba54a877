// The HTTP client of the MSAL programs: MSAL for Node ignores proxy variables; Azure's HTTP client reads them.
const { createDefaultHttpClient, createPipelineRequest, createHttpHeaders, proxyPolicy, createEmptyPipeline } =
  require("@azure/core-rest-pipeline");

const pipeline = createEmptyPipeline();
pipeline.addPolicy(proxyPolicy());
const http = createDefaultHttpClient();

async function send(method, url, options = {}) {
  const request = createPipelineRequest({ url, method, body: options.body });
  request.headers = createHttpHeaders(options.headers);
  const answer = await pipeline.sendRequest(http, request);
  return { status: answer.status, headers: answer.headers.toJSON(), body: JSON.parse(answer.bodyAsText) };
}

exports.networkClient = {
  sendGetRequestAsync: (url, options) => send("GET", url, options),
  sendPostRequestAsync: (url, options) => send("POST", url, options),
};
