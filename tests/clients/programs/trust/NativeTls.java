import io.netty.handler.ssl.OpenSsl;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslProvider;
import javax.net.ssl.SSLException;
import reactor.netty.http.client.HttpClient;

/** Connects to each URL with the native TLS library of Netty. Prints one line for each: trusted or refused. */
public class NativeTls {
    public static void main(String[] urls) throws Exception {
        OpenSsl.ensureAvailability();
        SslContext tls = SslContextBuilder.forClient().sslProvider(SslProvider.OPENSSL).build();
        HttpClient client = HttpClient.create().secure(spec -> spec.sslContext(tls));
        for (String url : urls) {
            try {
                client.get().uri(url).response().block();
                System.out.println("trusted");
            } catch (RuntimeException error) {
                if (!(error.getCause() instanceof SSLException)) {
                    throw error;
                }
                System.out.println("refused");
            }
        }
    }
}
