// Output of all programs here: one JSON object per line; the last line is printed at the end.
const fs = require("node:fs");
const { setTimeout: sleep } = require("node:timers/promises");

const PATIENCE_SECONDS = 300;

exports.VAULT = "https://journey-vault.vault.azure.net";
// Without the gateway the program can reach the token service but no vault.
exports.DIRECT = "DIRECT" in process.env;
exports.say = (members) => console.log(JSON.stringify(members));
exports.audience = (token) =>
  JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString()).aud;
exports.assertion = () => fs.readFileSync(process.env.AZURE_FEDERATED_TOKEN_FILE, "utf8");

// Wait until the projected token has been replaced.
exports.waitForAnother = async (first) => {
  for (let tries = 0; tries < PATIENCE_SECONDS * 10; tries++) {
    if (exports.assertion() !== first) return;
    await sleep(100);
  }
  throw new Error("the projected token stayed as it was");
};

exports.run = (main) =>
  main(...process.argv.slice(2)).catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
