package sample;

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.security.keyvault.secrets.SecretClient;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import com.microsoft.aad.msal4j.ClientCredentialFactory;
import com.microsoft.aad.msal4j.ClientCredentialParameters;
import com.microsoft.aad.msal4j.ConfidentialClientApplication;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.ZoneOffset;
import java.util.Set;
import reactor.core.publisher.Mono;

/**
 * Reads a secret from Key Vault in a loop. MSAL gets the access token: it sends the pod's ServiceAccount token as
 * client assertion.
 *
 * <p>Secret: KEYVAULT_URL (or KEYVAULT_NAME) and SECRET_NAME. Identity: AZURE_CLIENT_ID, AZURE_TENANT_ID,
 * AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE, which the Workload ID webhook adds to the pod.
 * CREDENTIAL=azure-identity uses Azure Identity instead of MSAL. INTERVAL_SECONDS sets the pause, 60 by default.
 */
public final class Main {
    private static volatile boolean failed;

    /** Credential for the Key Vault client: MSAL with the token file as client assertion. */
    private static final class MsalCredential implements TokenCredential {
        private final ConfidentialClientApplication app;

        MsalCredential() throws Exception {
            Path file = Path.of(setting("AZURE_FEDERATED_TOKEN_FILE"));
            String host = setting("AZURE_AUTHORITY_HOST").replaceAll("/+$", "") + "/";
            // A function, so that each request reads the file again: the kubelet rotates the token in it.
            var assertion = ClientCredentialFactory.createFromCallback(() -> Files.readString(file));
            app = ConfidentialClientApplication.builder(setting("AZURE_CLIENT_ID"), assertion)
                    .authority(host + setting("AZURE_TENANT_ID"))
                    .build();
        }

        @Override
        public Mono<AccessToken> getToken(TokenRequestContext wanted) {
            var parameters = ClientCredentialParameters.builder(Set.copyOf(wanted.getScopes())).build();
            return Mono.fromFuture(() -> app.acquireToken(parameters))
                    .map(answer -> new AccessToken(
                            answer.accessToken(),
                            answer.expiresOnDate().toInstant().atOffset(ZoneOffset.UTC)));
        }
    }

    private static String setting(String name) {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            System.err.println(quoted(name + " is not set"));
            System.exit(1);
        }
        return value;
    }

    /** Returns the vault URL from KEYVAULT_URL, or from KEYVAULT_NAME, which older manifests set. */
    private static String vault() {
        String url = System.getenv("KEYVAULT_URL");
        String name = System.getenv("KEYVAULT_NAME");
        if (url != null && !url.isEmpty()) {
            return url;
        }
        return name == null || name.isEmpty() ? setting("KEYVAULT_URL") : "https://" + name + ".vault.azure.net";
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + '"';
    }

    public static void main(String[] arguments) throws Exception {
        // SIGTERM starts the JVM shutdown, which would end with exit code 143. Exit with 0 or 1 instead.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.flush();
            Runtime.getRuntime().halt(failed ? 1 : 0);
        }));
        String url = vault();
        String name = setting("SECRET_NAME");
        String interval = System.getenv().getOrDefault("INTERVAL_SECONDS", "60");
        TokenCredential credential = "azure-identity".equals(System.getenv("CREDENTIAL"))
                ? new DefaultAzureCredentialBuilder().build()
                : new MsalCredential();
        SecretClient client = new SecretClientBuilder().vaultUrl(url).credential(credential).buildClient();
        while (true) {
            try {
                String value = client.getSecret(name).getValue();
                System.out.println("\"successfully got secret\" secret=" + quoted(value));
            } catch (RuntimeException error) {
                System.err.println("\"failed to get secret\" keyvault=" + quoted(url) + " secretName=" + quoted(name)
                        + " error=" + quoted(String.valueOf(error.getMessage())));
                failed = true;
                System.exit(1);
            }
            Thread.sleep((long) (Double.parseDouble(interval) * 1000));
        }
    }

    private Main() {}
}
