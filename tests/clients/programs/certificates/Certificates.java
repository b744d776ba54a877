import com.azure.core.credential.TokenCredential;
import com.azure.core.exception.ResourceNotFoundException;
import com.azure.core.util.polling.SyncPoller;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.security.keyvault.certificates.CertificateClient;
import com.azure.security.keyvault.certificates.CertificateClientBuilder;
import com.azure.security.keyvault.certificates.models.CertificateContact;
import com.azure.security.keyvault.certificates.models.CertificateContentType;
import com.azure.security.keyvault.certificates.models.CertificateIssuer;
import com.azure.security.keyvault.certificates.models.CertificateKeyCurveName;
import com.azure.security.keyvault.certificates.models.CertificateKeyType;
import com.azure.security.keyvault.certificates.models.CertificateOperation;
import com.azure.security.keyvault.certificates.models.CertificatePolicy;
import com.azure.security.keyvault.certificates.models.ImportCertificateOptions;
import com.azure.security.keyvault.certificates.models.KeyVaultCertificateWithPolicy;
import com.azure.security.keyvault.secrets.SecretClient;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import java.io.ByteArrayInputStream;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;

/** Use every operation on certificates with the released client: VAULT. */
public final class Certificates {
    private Certificates() {}

    public static void main(String[] arguments) throws Exception {
        TokenCredential credential = new DefaultAzureCredentialBuilder().build();
        String url = "https://" + arguments[0] + ".vault.azure.net";
        CertificateClient client = new CertificateClientBuilder().vaultUrl(url).credential(credential).buildClient();
        SecretClient secrets = new SecretClientBuilder().vaultUrl(url).credential(credential).buildClient();

        KeyVaultCertificateWithPolicy made = create(client, "java", policy("Self"));
        byte[] pfx = Base64.getDecoder().decode(secrets.getSecret("java").getValue());
        check(Arrays.equals(chain(pfx)[0].getEncoded(), made.getCer()), "secret");

        client.createIssuer(new CertificateIssuer("java-ca", "podpass").setAccountId("me"));
        check(client.getIssuer("java-ca").getProvider().equals("podpass"), "issuer");
        create(client, "java-signed", policy("java-ca"));
        Certificate[] signed = chain(Base64.getDecoder().decode(secrets.getSecret("java-signed").getValue()));
        check(signed.length == 2, "chain");
        signed[0].verify(signed[1].getPublicKey());
        client.deleteIssuer("java-ca");

        client.beginCreateCertificate("java-pending", policy("Unknown"));
        CertificateOperation operation = client.cancelCertificateOperation("java-pending");
        check(operation.getCancellationRequested() && operation.getCsr().length > 100, "cancellation");
        check(client.deleteCertificateOperation("java-pending").getStatus().equals("cancelled"), "status");

        ImportCertificateOptions options = new ImportCertificateOptions("java-imported", pfx).setPassword("");
        check(Arrays.equals(client.importCertificate(options).getCer(), made.getCer()), "import");

        client.setContacts(List.of(new CertificateContact().setEmail("a@example.com"))).stream().count();
        check(client.listContacts().iterator().next().getEmail().equals("a@example.com"), "contacts");
        client.deleteContacts().stream().count();
        CertificatePolicy longer = policy("Self").setValidityInMonths(24);
        check(client.updateCertificatePolicy("java", longer).getValidityInMonths() == 24, "policy");
        byte[] backup = client.backupCertificate("java");
        client.beginDeleteCertificate("java").setPollInterval(Duration.ofMillis(10)).waitForCompletion();
        client.purgeDeletedCertificate("java");
        check(client.restoreCertificateBackup(backup).getId().equals(made.getId()), "restore");
        client.updateCertificateProperties(client.getCertificate("java").getProperties().setEnabled(false));
        check(!client.getCertificate("java").getProperties().isEnabled(), "disabled");
        try {
            client.getCertificate("java-missing");
            throw new AssertionError("a certificate that does not exist");
        } catch (ResourceNotFoundException exc) {
            check(exc.getMessage().contains("CertificateNotFound"), "missing");
        }
        System.out.println("passed");
        System.exit(0); // threads of the HTTP client would keep the program running
    }

    static CertificatePolicy policy(String issuer) {
        return new CertificatePolicy(issuer, "CN=www").setContentType(CertificateContentType.PKCS12)
                .setKeyType(CertificateKeyType.EC).setKeyCurveName(CertificateKeyCurveName.P_256);
    }

    static KeyVaultCertificateWithPolicy create(CertificateClient client, String name, CertificatePolicy policy) {
        SyncPoller<CertificateOperation, KeyVaultCertificateWithPolicy> poller =
                client.beginCreateCertificate(name, policy);
        poller.setPollInterval(Duration.ofMillis(10)).waitForCompletion();
        return poller.getFinalResult();
    }

    static Certificate[] chain(byte[] pfx) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(new ByteArrayInputStream(pfx), new char[0]);
        return store.getCertificateChain(store.aliases().nextElement());
    }

    static void check(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }
}
