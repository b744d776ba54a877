import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.WorkloadIdentityCredentialBuilder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/** Request tokens with one credential: each input line is a scope, each output line a JSON object. */
public final class Session {
    private Session() {}

    public static void main(String[] arguments) throws Exception {
        TokenCredential credential = new WorkloadIdentityCredentialBuilder()
                .tenantId(System.getenv("AZURE_TENANT_ID"))
                .clientId(System.getenv("AZURE_CLIENT_ID"))
                .tokenFilePath(System.getenv("AZURE_FEDERATED_TOKEN_FILE"))
                .disableInstanceDiscovery()
                .build();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                TokenRequestContext asked = new TokenRequestContext().addScopes(line.trim());
                say("token", credential.getToken(asked).block().getToken());
            } catch (RuntimeException failed) {
                say("error", failed.toString());
            }
        }
        System.exit(0); // threads of the HTTP client would keep the program running
    }

    private static void say(String name, String value) {
        String plain = value.replaceAll("[^ -~]", " ").replace("\\", "/").replace("\"", "'");
        System.out.println("{\"" + name + "\": \"" + plain + "\"}");
        System.out.flush();
    }
}
