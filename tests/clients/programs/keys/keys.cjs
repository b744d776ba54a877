// Use every operation on keys with the released client: VAULT.
const assert = require("node:assert");
const { createHash, generateKeyPairSync, constants, privateDecrypt } = require("node:crypto");
const { DefaultAzureCredential } = require("@azure/identity");
const { CryptographyClient, KeyClient } = require("@azure/keyvault-keys");

const digest = (algorithm) => createHash(`sha${algorithm.slice(2, 5)}`).update("message").digest();

async function main(vault) {
  const credential = new DefaultAzureCredential();
  const client = new KeyClient(`https://${vault}.vault.azure.net`, credential);
  const using = (key) => new CryptographyClient(key, credential);

  for (const [curve, algorithm] of [["P-256", "ES256"], ["P-384", "ES384"], ["P-521", "ES512"], ["P-256K", "ES256K"]]) {
    const crypto = using(await client.createEcKey("node-ec", { curve }));
    const { result } = await crypto.sign(algorithm, digest(algorithm));
    assert((await crypto.verify(algorithm, digest(algorithm), result)).result);
  }

  const made = await client.createRsaKey("node", { keySize: 3072, tags: { a: "b" } });
  assert.equal(made.key.n.length, 384);
  const crypto = using(made);
  for (const algorithm of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]) {
    const { result } = await crypto.sign(algorithm, digest(algorithm));
    assert((await crypto.verify(algorithm, digest(algorithm), result)).result);
  }
  for (const algorithm of ["RSA1_5", "RSA-OAEP", "RSA-OAEP-256"]) {
    const plaintext = Buffer.from("plain");
    const { result } = await crypto.encrypt({ algorithm, plaintext });
    assert.deepEqual(Buffer.from((await crypto.decrypt({ algorithm, ciphertext: result })).result), plaintext);
    const wrapped = await crypto.wrapKey(algorithm, plaintext);
    assert.deepEqual(Buffer.from((await crypto.unwrapKey(algorithm, wrapped.result)).result), plaintext);
  }

  const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = pair.privateKey.export({ format: "jwk" });
  const numbers = Object.fromEntries(
    Object.entries(jwk).map(([name, value]) => [name, name === "kty" ? value : Buffer.from(value, "base64url")]),
  );
  const imported = await client.importKey("node-imported", numbers);
  const encrypted = await using(imported).encrypt("RSA-OAEP", Buffer.from("plain"));
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  assert.equal(privateDecrypt({ key: pair.privateKey, padding }, encrypted.result).toString(), "plain");

  const policy = { lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P2M" }], expiresIn: "P1Y" };
  assert.equal((await client.updateKeyRotationPolicy("node", policy)).expiresIn, "P1Y");
  const rotated = await client.rotateKey("node");
  assert.notEqual(rotated.id, made.id);
  const versions = [];
  for await (const each of client.listPropertiesOfKeyVersions("node")) versions.push(each.version);
  assert.equal(versions.length, 2);
  const backup = await client.backupKey("node");
  const deletion = await client.beginDeleteKey("node", { intervalInMs: 10 });
  assert((await deletion.pollUntilDone()).properties.recoveryId);
  await client.purgeDeletedKey("node");
  const restored = await client.restoreKeyBackup(backup);
  assert.equal(restored.id, rotated.id);
  assert.equal((await client.getRandomBytes(16)).length, 16);
  const disabled = await client.updateKeyProperties("node", rotated.properties.version, { enabled: false });
  await assert.rejects(
    using(disabled).sign("RS256", digest("RS256")),
    (error) => error.statusCode === 403 && error.code === "Forbidden",
  );
  console.log("passed");
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
