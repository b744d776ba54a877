#!/usr/bin/env bash
# From pod identity to workload identity, in the three ways of Microsoft's page "Migrate from pod managed-identity to Microsoft
# Entra Workload ID": with a current SDK, with the migration sidecar, and with a rewritten program.
#
# `make tutorial MIGRATE=yes` runs this script against an instance of podpass. To run it by hand: `eval "$(podpass env)"`, then line
# by line. docs/migrate/pod-identity.md explains each step.
set -euo pipefail

# Without this variable, the commands would change your own subscription and cluster.
: "${PODPASS_ENV:?run this script in a shell with the environment of an instance: podpass env}"

FILES="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT

# Wait until the newest pod of a Deployment has logged a text. A container is Ready as soon as it runs; its first token comes later.
wait_for_log() {
  local pod="" found=""
  for _ in $(seq 60); do
    pod="$(command kubectl get pods --selector "app=$1" --sort-by=.metadata.creationTimestamp --output name | tail -1)"
    found="$(command kubectl logs "$pod" -c "$2" 2>/dev/null || true)"
    case "$found" in *"$3"*) break ;; esac
    sleep 1
  done
  kubectl logs "$pod" -c "$2"
  case "$found" in *"$3"*) ;; *) echo "$pod did not log: $3" >&2; return 1 ;; esac
}

## The names of the page

RANDOM_ID="$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')"
SUBSCRIPTION="$(az account show --query id --output tsv)"
RESOURCE_GROUP="migrate-$RANDOM_ID"
LOCATION="eastus"
CLUSTER_NAME="cluster-$RANDOM_ID"
MANAGED_IDENTITY_NAME="identity-$RANDOM_ID"
SERVICE_ACCOUNT_NAME="workload-identity-sa"
SERVICE_ACCOUNT_NAMESPACE="default"
FEDERATED_IDENTITY_NAME="credential-$RANDOM_ID"

## A cluster with an OIDC issuer and workload identity, and a vault

az account set --subscription "$SUBSCRIPTION"
az group create --name "$RESOURCE_GROUP" --location "$LOCATION"
az aks create \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --enable-oidc-issuer \
  --enable-workload-identity \
  --generate-ssh-keys
az aks get-credentials --name "$CLUSTER_NAME" --resource-group "$RESOURCE_GROUP"

KEYVAULT_NAME="vault-$RANDOM_ID"
az keyvault create \
  --name "$KEYVAULT_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --location "$LOCATION" \
  --enable-rbac-authorization
KEYVAULT_RESOURCE_ID="$(az keyvault show --name "$KEYVAULT_NAME" --query id --output tsv)"
KEYVAULT_URL="$(az keyvault show --name "$KEYVAULT_NAME" --query properties.vaultUri --output tsv)"
az role assignment create \
  --assignee "$(az ad signed-in-user show --query id --output tsv)" \
  --role "Key Vault Secrets Officer" \
  --scope "$KEYVAULT_RESOURCE_ID"
az keyvault secret set --vault-name "$KEYVAULT_NAME" --name greeting --value 'Hello!'

## The managed identity that the workloads use with pod identity

az identity create \
  --name "$MANAGED_IDENTITY_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --location "$LOCATION" \
  --subscription "$SUBSCRIPTION"
USER_ASSIGNED_CLIENT_ID="$(az identity show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$MANAGED_IDENTITY_NAME" \
  --query clientId \
  --output tsv)"
USER_ASSIGNED_RESOURCE_ID="$(az identity show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$MANAGED_IDENTITY_NAME" \
  --query id \
  --output tsv)"
az role assignment create \
  --assignee-object-id "$(az identity show \
    --name "$MANAGED_IDENTITY_NAME" \
    --resource-group "$RESOURCE_GROUP" \
    --query principalId \
    --output tsv)" \
  --role "Key Vault Secrets User" \
  --scope "$KEYVAULT_RESOURCE_ID" \
  --assignee-principal-type ServicePrincipal

## The workloads as they are: `web` has a current SDK, `legacy` asks the metadata service

# A local instance has the objects of pod identity, and not its NMI. So neither program has a token yet.
kubectl apply -f "$FILES/pod-identity-crds.yaml"
kubectl wait --for=condition=Established crd --all --timeout=60s
kubectl apply -f - <<EOF
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata:
  name: $MANAGED_IDENTITY_NAME
spec:
  type: 0
  resourceID: $USER_ASSIGNED_RESOURCE_ID
  clientID: $USER_ASSIGNED_CLIENT_ID
---
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentityBinding
metadata:
  name: $MANAGED_IDENTITY_NAME
spec:
  azureIdentity: $MANAGED_IDENTITY_NAME
  selector: vault-reader
EOF
kubectl create configmap programs --from-file "$FILES/old_program.py" --from-file "$FILES/new_program.py"
for NAME in web legacy; do
  PROGRAM="new_program.py"
  if [ "$NAME" = legacy ]; then PROGRAM="old_program.py"; fi
  kubectl apply -f - <<EOF
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $NAME
spec:
  selector:
    matchLabels: {app: $NAME}
  template:
    metadata:
      labels: {app: $NAME, aadpodidbinding: vault-reader}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: python
          command: [python, /programs/$PROGRAM]
          env:
            - {name: KEYVAULT_URL, value: "$KEYVAULT_URL"}
            - {name: SECRET_NAME, value: greeting}
          volumeMounts: [{name: programs, mountPath: /programs}]
      volumes: [{name: programs, configMap: {name: programs}}]
EOF
  kubectl rollout status "deployment/$NAME" --timeout=120s
done
wait_for_log web app "no secret"
wait_for_log legacy app "no secret"

## What each workload needs

# Both run with the Python of the instance, which has a current SDK; `legacy` does not use it. On a cluster, scan the images.
podpass migrate scan namespace/default || [ $? -eq 3 ] || [ $? -eq 4 ]

## The manifests that `azwi podidentity detect` would write

podpass podidentity detect --namespace default --output-dir "$WORK/manifests"

## The issuer, the ServiceAccount and the federated credential

AKS_OIDC_ISSUER="$(az aks show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --query "oidcIssuerProfile.issuerUrl" \
  --output tsv)"

kubectl apply -f - <<EOF
apiVersion: v1
kind: ServiceAccount
metadata:
  annotations:
    azure.workload.identity/client-id: ${USER_ASSIGNED_CLIENT_ID}
  name: ${SERVICE_ACCOUNT_NAME}
  namespace: ${SERVICE_ACCOUNT_NAMESPACE}
EOF

az identity federated-credential create \
  --name "$FEDERATED_IDENTITY_NAME" \
  --identity-name "$MANAGED_IDENTITY_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --issuer "${AKS_OIDC_ISSUER}" \
  --subject "system:serviceaccount:$SERVICE_ACCOUNT_NAMESPACE:$SERVICE_ACCOUNT_NAME" \
  --audience api://AzureADTokenExchange

## Way 1, a current SDK: both systems side by side, then without pod identity

kubectl patch deployment web --patch "
spec:
  template:
    metadata: {labels: {azure.workload.identity/use: \"true\"}}
    spec: {serviceAccountName: $SERVICE_ACCOUNT_NAME}
"
kubectl rollout status deployment/web --timeout=120s
wait_for_log web app "secret: Hello!"
kubectl patch deployment web --patch '
spec:
  template:
    metadata: {labels: {aadpodidbinding: null}}
'
kubectl rollout status deployment/web --timeout=120s
wait_for_log web app "secret: Hello!"

## Rollback: the revision with pod identity, then workload identity again

kubectl rollout undo deployment/web --to-revision=1
kubectl rollout status deployment/web --timeout=120s
wait_for_log web app "no secret"
kubectl rollout undo deployment/web --to-revision=3
kubectl rollout status deployment/web --timeout=120s
wait_for_log web app "secret: Hello!"

## Way 2, the migration sidecar: temporarily, with the program unchanged

kubectl patch deployment legacy --patch "
spec:
  template:
    metadata:
      labels: {azure.workload.identity/use: \"true\"}
      annotations:
        azure.workload.identity/inject-proxy-sidecar: \"true\"
        podpass.azure-workload-identity.io/proxy-mode: env
    spec: {serviceAccountName: $SERVICE_ACCOUNT_NAME}
"
kubectl rollout status deployment/legacy --timeout=120s
kubectl describe pods --selector app=legacy
wait_for_log legacy azwi-proxy "successfully acquired token"
wait_for_log legacy app "secret: Hello!"

## Way 3, a rewritten program: without the sidecar

kubectl patch deployment legacy --patch '
spec:
  template:
    metadata:
      labels: {aadpodidbinding: null}
      annotations:
        azure.workload.identity/inject-proxy-sidecar: null
        podpass.azure-workload-identity.io/proxy-mode: null
    spec:
      containers:
        - name: app
          command: [python, /programs/new_program.py]
'
kubectl rollout status deployment/legacy --timeout=120s
wait_for_log legacy app "secret: Hello!"
kubectl get pods --selector app=legacy --output jsonpath='{.items[*].spec.initContainers[*].name}{.items[*].spec.containers[*].name}'

## The last pods of pod identity

# On AKS, the add-on is removed now: az aks pod-identity delete --name NAME --namespace NAMESPACE --resource-group
# $RESOURCE_GROUP --cluster-name $CLUSTER_NAME, an extension's command that no local instance serves.
for _ in $(seq 60); do
  case "$(command kubectl get pods --selector aadpodidbinding --output name)" in "") break ;; esac
  sleep 1
done
kubectl get pods --selector aadpodidbinding --output name
kubectl delete azureidentitybindings,azureidentities --all

## Clean up

kubectl delete deployment web legacy
az group delete --name "$RESOURCE_GROUP" --yes
