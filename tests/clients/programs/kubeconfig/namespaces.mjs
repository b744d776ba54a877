// Prints the namespaces, with the user of KUBECONFIG.
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";

const config = new KubeConfig();
config.loadFromDefault();
const { items } = await config.makeApiClient(CoreV1Api).listNamespace();
for (const each of items) console.log(each.metadata.name);
