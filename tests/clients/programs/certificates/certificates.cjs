// Use every operation on certificates with the released client: VAULT.
const assert = require("node:assert");
const { X509Certificate, createPrivateKey } = require("node:crypto");
const { DefaultAzureCredential } = require("@azure/identity");
const { CertificateClient } = require("@azure/keyvault-certificates");
const { SecretClient } = require("@azure/keyvault-secrets");

const fast = { intervalInMs: 10 };

async function main(vault) {
  const credential = new DefaultAzureCredential();
  const url = `https://${vault}.vault.azure.net`;
  const client = new CertificateClient(url, credential);
  const secrets = new SecretClient(url, credential);
  const create = async (name, policy) => {
    const poller = await client.beginCreateCertificate(name, { subject: "CN=www", ...policy }, fast);
    return poller.pollUntilDone();
  };

  const made = await create("node", { issuerName: "Self", contentType: "application/x-pem-file", keyType: "EC" });
  const pem = (await secrets.getSecret("node")).value;
  const own = new X509Certificate(Buffer.from(made.cer));
  assert(own.checkPrivateKey(createPrivateKey(pem)));

  await client.createIssuer("node-ca", "podpass", { accountId: "me" });
  assert.equal((await client.getIssuer("node-ca")).provider, "podpass");
  await create("node-signed", { issuerName: "node-ca", contentType: "application/x-pem-file" });
  const chain = (await secrets.getSecret("node-signed")).value.match(/-----BEGIN CERTIFICATE[^]*?-----END CERTIFICATE-----/g);
  const [leaf, root] = chain.map((each) => new X509Certificate(each));
  assert(leaf.verify(root.publicKey));
  await client.deleteIssuer("node-ca");

  await client.beginCreateCertificate("node-pending", { subject: "CN=www", issuerName: "Unknown" }, fast);
  const operation = (await client.getCertificateOperation("node-pending")).getOperationState().certificateOperation;
  assert.equal(operation.status, "inProgress");
  assert(operation.csr.length > 100);
  const names = [];
  for await (const each of client.listPropertiesOfCertificates({ includePending: true })) names.push(each.name);
  assert(names.includes("node-pending"));
  await client.deleteCertificateOperation("node-pending");

  const imported = await client.importCertificate("node-imported", Buffer.from(pem), {
    policy: { issuerName: "Self", subject: "CN=www", contentType: "application/x-pem-file" },
  });
  assert.deepEqual(Buffer.from(imported.cer), Buffer.from(made.cer));

  await client.setContacts([{ email: "a@example.com", name: "John", phone: "1" }]);
  assert.equal((await client.getContacts())[0].email, "a@example.com");
  await client.deleteContacts();
  // The client returns the policy without its members.
  await client.updateCertificatePolicy("node", { issuerName: "Self", subject: "CN=www", validityInMonths: 6 });
  assert.equal((await client.getCertificate("node")).policy.validityInMonths, 6);
  const backup = await client.backupCertificate("node");
  const deletion = await client.beginDeleteCertificate("node", fast);
  assert((await deletion.pollUntilDone()).recoveryId);
  await client.purgeDeletedCertificate("node");
  const restored = await client.restoreCertificateBackup(backup);
  assert.equal(restored.id, made.id);
  const disabled = await client.updateCertificateProperties("node", restored.properties.version, { enabled: false });
  assert.equal(disabled.properties.enabled, false);
  await assert.rejects(secrets.getSecret("node"), (error) => error.statusCode === 403 && error.code === "Forbidden");
  console.log("passed");
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
