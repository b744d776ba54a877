import com.azure.core.credential.TokenCredential;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Output of all programs here: one JSON object per line; the last line is printed at the end. */
final class Answer {
    static final String VAULT = "https://journey-vault.vault.azure.net";
    /** Without the gateway the program can reach the token service but no vault. */
    static final boolean DIRECT = System.getenv("DIRECT") != null;
    static final int PATIENCE_SECONDS = 300;

    private static final Pattern AUDIENCE = Pattern.compile("\"aud\":\"([^\"]*)\"");

    private Answer() {}

    static void say(String... members) {
        StringBuilder line = new StringBuilder();
        for (int each = 0; each < members.length; each += 2) {
            line.append(each == 0 ? "{" : ", ");
            line.append('"').append(members[each]).append("\": \"").append(members[each + 1]).append('"');
        }
        System.out.println(line.append('}'));
    }

    static String secret(TokenCredential credential) {
        return DIRECT ? "" : new SecretClientBuilder().vaultUrl(VAULT).credential(credential)
                .buildClient().getSecret("greeting").getValue();
    }

    static String audience(String token) {
        Matcher found = AUDIENCE.matcher(new String(Base64.getUrlDecoder().decode(token.split("\\.")[1])));
        return found.find() ? found.group(1) : "none";
    }

    static String assertion() throws Exception {
        return Files.readString(Path.of(System.getenv("AZURE_FEDERATED_TOKEN_FILE")));
    }

    /** Wait until the projected token has been replaced. */
    static void waitForAnother(String first) throws Exception {
        for (int tries = 0; tries < PATIENCE_SECONDS * 10; tries++) {
            if (!assertion().equals(first)) {
                return;
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("the projected token stayed as it was");
    }
}
