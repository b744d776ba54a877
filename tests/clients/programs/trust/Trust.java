import java.net.URI;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLHandshakeException;

/** Connects to each URL with the JDK's client. Prints one line for each: trusted or refused. */
public class Trust {
    public static void main(String[] urls) throws Exception {
        for (String url : urls) {
            try {
                HttpsURLConnection connection = (HttpsURLConnection) URI.create(url).toURL().openConnection();
                connection.getResponseCode();
                System.out.println("trusted");
            } catch (SSLHandshakeException refused) {
                System.out.println("refused");
            }
        }
    }
}
