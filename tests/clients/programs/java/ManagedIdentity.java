import com.azure.core.credential.TokenCredential;
import com.azure.core.util.CoreUtils;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.azure.security.keyvault.secrets.SecretClientBuilder;

/**
 * Read a secret with each managed identity credential of Java: CHECK... prints one result for each.
 * CHECK is managed or default, and may have "=CLIENT_ID": then the secret is that of the second vault.
 */
public final class ManagedIdentity {
    private ManagedIdentity() {}

    public static void main(String[] checks) {
        Answer.say("version", CoreUtils.getProperties("azure-identity.properties").get("version"));
        for (String check : checks) {
            String[] parts = check.split("=");
            String clientId = parts.length > 1 ? parts[1] : null;
            try {
                Answer.say(check, secret(made(parts[0], clientId), clientId));
            } catch (RuntimeException failed) {
                Answer.say(check, text(failed));
            }
        }
        System.exit(0); // threads of the HTTP client would keep the program running
    }

    static TokenCredential made(String style, String clientId) {
        if (style.equals("default")) {
            DefaultAzureCredentialBuilder builder = new DefaultAzureCredentialBuilder();
            return clientId == null ? builder.build() : builder.managedIdentityClientId(clientId).build();
        }
        ManagedIdentityCredentialBuilder builder = new ManagedIdentityCredentialBuilder();
        return clientId == null ? builder.build() : builder.clientId(clientId).build();
    }

    static String secret(TokenCredential credential, String clientId) {
        String vault = clientId == null ? "journey-vault" : "second-vault";
        return new SecretClientBuilder().vaultUrl("https://" + vault + ".vault.azure.net")
                .credential(credential).buildClient().getSecret("greeting").getValue();
    }

    static String text(Throwable failed) {
        StringBuilder said = new StringBuilder();
        for (Throwable each = failed; each != null; each = each.getCause()) {
            said.append(each).append("; ");
        }
        return said.toString().replaceAll("[\"\\\\\\p{Cntrl}]", " ");
    }
}
