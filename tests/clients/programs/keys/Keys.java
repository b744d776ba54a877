import com.azure.core.credential.TokenCredential;
import com.azure.core.exception.HttpResponseException;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.security.keyvault.keys.KeyClient;
import com.azure.security.keyvault.keys.KeyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.CryptographyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyRotationLifetimeAction;
import com.azure.security.keyvault.keys.models.KeyRotationPolicy;
import com.azure.security.keyvault.keys.models.KeyRotationPolicyAction;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** Use every operation on keys with the released client: VAULT. */
public final class Keys {
    private Keys() {}

    public static void main(String[] arguments) throws Exception {
        TokenCredential credential = new DefaultAzureCredentialBuilder().build();
        String url = "https://" + arguments[0] + ".vault.azure.net";
        KeyClient client = new KeyClientBuilder().vaultUrl(url).credential(credential).buildClient();

        Map<KeyCurveName, String> curves = Map.of(KeyCurveName.P_256, "ES256", KeyCurveName.P_384, "ES384",
                KeyCurveName.P_521, "ES512", KeyCurveName.P_256K, "ES256K");
        for (Map.Entry<KeyCurveName, String> each : curves.entrySet()) {
            CreateEcKeyOptions options = new CreateEcKeyOptions("java-ec").setCurveName(each.getKey());
            sign(using(client.createEcKey(options), credential), each.getValue());
        }

        CreateRsaKeyOptions options = new CreateRsaKeyOptions("java").setKeySize(2048);
        options.setTags(Map.of("a", "b"));
        KeyVaultKey made = client.createRsaKey(options);
        CryptographyClient crypto = using(made, credential);
        for (String name : List.of("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")) {
            sign(crypto, name);
        }
        byte[] plain = "plain".getBytes();
        for (String name : List.of("RSA1_5", "RSA-OAEP", "RSA-OAEP-256")) {
            EncryptionAlgorithm encryption = EncryptionAlgorithm.fromString(name);
            byte[] encrypted = crypto.encrypt(encryption, plain).getCipherText();
            check(Arrays.equals(crypto.decrypt(encryption, encrypted).getPlainText(), plain), name);
            KeyWrapAlgorithm wrap = KeyWrapAlgorithm.fromString(name);
            byte[] wrapped = crypto.wrapKey(wrap, plain).getEncryptedKey();
            check(Arrays.equals(crypto.unwrapKey(wrap, wrapped).getKey(), plain), name);
        }

        KeyRotationPolicy policy = new KeyRotationPolicy().setExpiresIn("P1Y").setLifetimeActions(
                List.of(new KeyRotationLifetimeAction(KeyRotationPolicyAction.ROTATE).setTimeAfterCreate("P2M")));
        check(client.updateKeyRotationPolicy("java", policy).getExpiresIn().equals("P1Y"), "policy");
        KeyVaultKey rotated = client.rotateKey("java");
        check(!rotated.getId().equals(made.getId()), "rotation");
        byte[] backup = client.backupKey("java");
        client.beginDeleteKey("java").setPollInterval(Duration.ofMillis(10)).waitForCompletion();
        client.purgeDeletedKey("java");
        check(client.restoreKeyBackup(backup).getId().equals(rotated.getId()), "restore");
        client.updateKeyProperties(client.getKey("java").getProperties().setEnabled(false));
        try {
            sign(using(rotated, credential), "RS256");
            throw new AssertionError("a disabled key signed");
        } catch (HttpResponseException exc) {
            check(exc.getResponse().getStatusCode() == 403, "disabled key");
        }
        System.out.println("passed");
        System.exit(0); // threads of the HTTP client would keep the program running
    }

    static CryptographyClient using(KeyVaultKey key, TokenCredential credential) {
        return new CryptographyClientBuilder().keyIdentifier(key.getId()).credential(credential).buildClient();
    }

    static void sign(CryptographyClient crypto, String name) throws Exception {
        SignatureAlgorithm algorithm = SignatureAlgorithm.fromString(name);
        byte[] digest = MessageDigest.getInstance("SHA-" + name.substring(2, 5)).digest("message".getBytes());
        byte[] signature = crypto.sign(algorithm, digest).getSignature();
        check(crypto.verify(algorithm, digest, signature).isValid(), name);
    }

    static void check(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }
}
