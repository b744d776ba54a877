// Write and read a blob of the storage account ACCOUNT: prints a result or a refusal.
const { DefaultAzureCredential } = require("@azure/identity");
const { BlobServiceClient } = require("@azure/storage-blob");

async function main(account) {
  const url = `https://${account}.blob.core.windows.net`;
  const client = new BlobServiceClient(url, new DefaultAzureCredential());
  const container = client.getContainerClient("node");
  try {
    await container.createIfNotExists();
    const blob = container.getBlockBlobClient("folder/hello.txt");
    await blob.upload("hello", 5, { metadata: { a_b: "1", ab: "2" } });
    const names = [];
    for await (const each of container.listBlobsFlat()) names.push(each.name);
    const result = (await blob.downloadToBuffer()).toString();
    console.log(JSON.stringify({ result, names }));
  } catch (failed) {
    console.log(JSON.stringify({ refused: failed.statusCode, code: failed.code, text: failed.message }));
  }
}

main(process.argv[2]);
