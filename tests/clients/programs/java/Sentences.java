import com.azure.core.http.policy.RetryOptions;
import com.azure.core.http.policy.FixedDelayOptions;
import com.azure.identity.WorkloadIdentityCredentialBuilder;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import java.time.Duration;

/** Reads a secret and prints the error. VAULT_URL is the vault. */
public class Sentences {
    public static void main(String[] arguments) {
        RetryOptions once = new RetryOptions(new FixedDelayOptions(0, Duration.ofMillis(1)));
        try {
            var builder = new WorkloadIdentityCredentialBuilder().retryOptions(once);
            // 1.9.0 reads no variables outside DefaultAzureCredential.
            if (System.getenv("AZURE_FEDERATED_TOKEN_FILE") != null) {
                builder.clientId(System.getenv("AZURE_CLIENT_ID")).tenantId(System.getenv("AZURE_TENANT_ID"))
                        .tokenFilePath(System.getenv("AZURE_FEDERATED_TOKEN_FILE"));
            }
            var credential = builder.build();
            var client = new SecretClientBuilder()
                    .vaultUrl(System.getenv("VAULT_URL")).credential(credential).retryOptions(once).buildClient();
            System.out.println(client.getSecret("greeting").getValue());
        } catch (Throwable error) {
            for (Throwable each = error; each != null; each = each.getCause()) {
                System.out.println(each.getClass().getName() + ": " + each.getMessage());
            }
        }
        System.exit(0);
    }
}
