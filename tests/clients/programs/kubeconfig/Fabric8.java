import io.fabric8.kubernetes.client.KubernetesClientBuilder;

/** Prints the namespaces, with the user of KUBECONFIG. */
public class Fabric8 {
    public static void main(String[] arguments) {
        try (var client = new KubernetesClientBuilder().build()) {
            for (var each : client.namespaces().list().getItems()) {
                System.out.println(each.getMetadata().getName());
            }
        }
    }
}
