{{/* azure-workload-identity's chart uses its own name in the Deployment's selector, which is immutable. */}}
{{- define "podpass.name" -}}
{{- default "workload-identity-webhook" .Values.nameOverride | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{- define "podpass.selector" -}}
app: {{ include "podpass.name" . | quote }}
azure-workload-identity.io/system: "true"
chart: {{ include "podpass.name" . | quote }}
release: {{ .Release.Name | quote }}
{{- end -}}

{{- define "podpass.labels" -}}
{{ include "podpass.selector" . }}
app.kubernetes.io/name: podpass
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "podpass.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.release }}
{{- end -}}
{{- end -}}

{{/* True if the webhook does not manage its certificate and its caBundle. */}}
{{- define "podpass.foreignCertificate" -}}
{{- if or .Values.disableCertRotation .Values.certManager.enabled -}}true{{- end -}}
{{- end -}}

{{- define "podpass.certSecret" -}}
{{- if .Values.certManager.enabled -}}
azure-wi-webhook-cert-manager
{{- else -}}
{{ default "azure-wi-webhook-server-cert" .Values.certSecretName }}
{{- end -}}
{{- end -}}

{{/* The names of the variables in `extraEnv`, which override the ConfigMap, as a JSON array. */}}
{{- define "podpass.extraEnvNames" -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}{{- $names = append $names .name -}}{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The environment variables of the webhook: the data of the ConfigMap, as JSON. */}}
{{- define "podpass.config" -}}
{{- $endpoint := .Values.customTokenEndpoint -}}
{{- $selector := $endpoint.azureKubernetesCACTBLabelSelector -}}
{{- if and $selector (not (kindIs "string" $selector)) -}}{{- $selector = toJson $selector -}}{{- end -}}
{{- $data := dict
  "AZURE_ENVIRONMENT" .Values.azureEnvironment
  "AZURE_TENANT_ID" (required "azureTenantID is required: the tenant ID of your identities" .Values.azureTenantID)
-}}
{{- range $name, $value := dict
  "AZURE_KUBERNETES_CA_CONFIGMAP_NAME" $endpoint.azureKubernetesCAConfigMapName
  "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR" $selector
  "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME" $endpoint.azureKubernetesCACTBSignerName
  "AZURE_KUBERNETES_CA_DATA" $endpoint.azureKubernetesCaData
  "AZURE_KUBERNETES_SNI_NAME" $endpoint.azureKubernetesSniName
  "AZURE_KUBERNETES_TOKEN_PROXY" $endpoint.azureKubernetesTokenProxy
  "LEGACY_TOKEN_PATH" .Values.legacyTokenPath
  "PROXY_IMAGE" .Values.proxyImage
  "PROXY_INIT_IMAGE" .Values.proxyInitImage
  "PROXY_INIT_PRIVILEGED" (ternary "false" "" (eq (toString .Values.proxyInitPrivileged) "false"))
  "PROXY_MODE" (ternary "env" "" (eq (toString .Values.proxyMode) "env"))
-}}
{{- if $value -}}{{- $_ := set $data $name (toString $value) -}}{{- end -}}
{{- end -}}
{{- toJson $data -}}
{{- end -}}

{{/* The user's namespace selector, plus a rule that excludes the release namespace and `exemptNamespaces`. */}}
{{- define "podpass.namespaceSelector" -}}
{{- $selector := default dict .Values.mutatingWebhookNamespaceSelector -}}
{{- $exempt := prepend (default list .Values.exemptNamespaces) .Release.Namespace | uniq -}}
{{- $rule := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" $exempt -}}
{{- $expressions := append (default list $selector.matchExpressions) $rule -}}
{{- toYaml (merge (dict "matchExpressions" $expressions) $selector) -}}
{{- end -}}

{{/* Invalid combinations, each with its fix. Every template includes this first: Helm's rendering order is not defined, and Helm
shows only the first error. */}}
{{- define "podpass.check" -}}
{{- if not (.Values.image).repository -}}
{{- fail (printf "image.repository is required, because there is no public image: build and push it (docker build -f deploy/Dockerfile -t REGISTRY/podpass:%[1]s . && docker push REGISTRY/podpass:%[1]s), then set --set image.repository=REGISTRY/podpass" .Chart.AppVersion) -}}
{{- end -}}
{{- if hasSuffix "oss/azure/workload-identity/webhook" (toString (.Values.image).repository) -}}
{{- fail "image.repository is the image of azure-workload-identity, which does not contain podpass: set your image with --set image.repository=... --set image.release=..., and upgrade with --reset-then-reuse-values, not --reuse-values" -}}
{{- end -}}
{{- if not (and .Values.certManager .Values.events .Values.advice .Values.networkPolicy .Values.serviceMonitor .Values.helmTest) -}}
{{- fail "the values of this release belong to another chart: upgrade with --reset-then-reuse-values (Helm 3.14 or newer), not --reuse-values" -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.minAvailable .Values.podDisruptionBudget.maxUnavailable -}}
{{- fail "podDisruptionBudget.minAvailable and .maxUnavailable exclude each other: set one to 0" -}}
{{- end -}}
{{- if and (eq (toString .Values.proxyMode) "env") (not .Values.proxyImage) (not (has "PROXY_IMAGE" (include "podpass.extraEnvNames" . | fromJsonArray))) -}}
{{- fail "proxyMode=env needs proxyImage, an image of podpass' sidecar: the image of azure-workload-identity does not support this mode" -}}
{{- end -}}
{{- if and (or .Values.certSecretName .Values.caBundle) (not .Values.disableCertRotation) -}}
{{- fail "certSecretName and caBundle need disableCertRotation=true: otherwise the webhook overwrites them" -}}
{{- end -}}
{{- if and .Values.certManager.enabled (or .Values.certSecretName .Values.caBundle) -}}
{{- fail "certManager.enabled excludes certSecretName and caBundle: cert-manager manages both" -}}
{{- end -}}
{{- $memory := toString (dig "limits" "memory" "" .Values.resources) -}}
{{- if and (regexMatch "^[0-9]+(Mi|M)$" $memory) (lt (regexFind "^[0-9]+" $memory | int) 96) -}}
{{- fail (printf "resources.limits.memory is %s: podpass needs 96Mi at least; the default of azure-workload-identity's chart is too small" $memory) -}}
{{- end -}}
{{- with .Values.customTokenEndpoint -}}
{{- if ne (empty .annotationSuffix) (empty .audience) -}}
{{- fail "customTokenEndpoint.annotationSuffix and .audience need each other: set both or neither" -}}
{{- end -}}
{{- $authorities := list .azureKubernetesCaData .azureKubernetesCAConfigMapName .azureKubernetesCACTBSignerName | compact -}}
{{- if gt (len $authorities) 1 -}}
{{- fail "customTokenEndpoint: azureKubernetesCaData, azureKubernetesCAConfigMapName and azureKubernetesCACTBSignerName exclude each other: set one" -}}
{{- end -}}
{{- if and .azureKubernetesCACTBLabelSelector (not .azureKubernetesCACTBSignerName) -}}
{{- fail "customTokenEndpoint.azureKubernetesCACTBLabelSelector needs azureKubernetesCACTBSignerName" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* clientConfig of one path of the webhook. The webhook or cert-manager sets the caBundle, unless .Values.caBundle does. */}}
{{- define "podpass.client" -}}
{{- with .root.Values.caBundle -}}
caBundle: {{ b64enc . }}
{{ end -}}
service:
  name: azure-wi-webhook-webhook-service
  namespace: {{ .root.Release.Namespace | quote }}
  path: {{ .path }}
  {{- if ne (int .root.Values.service.port) 443 }}
  port: {{ .root.Values.service.port }}
  {{- end }}
{{- end -}}

{{/* True if the webhook mutates pods in the namespace of `helm test`. */}}
{{- define "podpass.tested" -}}
{{- $where := .Values.helmTest.namespace -}}
{{- if not (or (eq $where .Release.Namespace) (has $where (default list .Values.exemptNamespaces))) -}}true{{- end -}}
{{- end -}}

{{- define "podpass.testName" -}}
{{ printf "%s-test" .Release.Name }}
{{- end -}}
