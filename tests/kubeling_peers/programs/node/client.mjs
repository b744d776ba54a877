// Runs the official JavaScript client: `informer NAMESPACE`, `exec NAMESPACE POD COMMAND...`, `log NAMESPACE POD`.
import { CoreV1Api, Exec, KubeConfig, Log, makeInformer } from "@kubernetes/client-node";

const config = new KubeConfig();
config.loadFromDefault();
const [verb, namespace, pod, ...command] = process.argv.slice(2);

if (verb === "informer") {
  const api = config.makeApiClient(CoreV1Api);
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const labelSelector = "informer";
  const list = () => api.listNamespacedConfigMap({ namespace, labelSelector });
  const informer = makeInformer(config, path, list, labelSelector);
  for (const event of ["add", "update", "delete"])
    informer.on(event, (found) => console.log(event, found.metadata.name, found.data?.value));
  // The informer stops at an error of its connection; its documentation starts it again.
  informer.on("error", () => setTimeout(() => informer.start(), 100));
  await informer.start();
} else if (verb === "exec") {
  const ended = (status) =>
    console.log("exit", status.status === "Success" ? 0 : status.details.causes[0].message);
  const { stdin, stdout, stderr } = process;
  await new Exec(config).exec(namespace, pod, "", command, stdout, stderr, stdin, false, ended);
} else {
  await new Log(config).log(namespace, pod, "", process.stdout, { follow: true });
}
