{{/* 52 characters: the longest derived name, of the seed pods (`-seed-` and five characters), is then 63, the limit of a label. */}}
{{- define "podpass-authority.name" -}}
{{- $given := default .Release.Name .Values.nameOverride -}}
{{- if not (or .Values.nameOverride (contains "podpass-authority" $given)) -}}
{{- $given = printf "%s-podpass-authority" $given -}}
{{- end -}}
{{- $given | trunc 52 | trimAll "-" -}}
{{- end -}}

{{/* The same selector as deploy/authority. It is immutable, so objects applied with kubectl can become a release. */}}
{{- define "podpass-authority.selector" -}}
app.kubernetes.io/name: {{ include "podpass-authority.name" . | quote }}
{{- end -}}

{{- define "podpass-authority.labels" -}}
{{ include "podpass-authority.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "podpass-authority.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* One setting as the text of its environment variable. Helm reads numbers as floats and would write large ones as 1e+06. */}}
{{- define "podpass-authority.setting" -}}
{{- if kindIs "slice" . -}}
{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ toString . }}
{{- end -}}
{{- end -}}

{{/* The environment variables of the process: the data of the ConfigMap, as JSON. */}}
{{- define "podpass-authority.config" -}}
{{- $data := dict
  "PODPASS_AUTHORITY_ORIGIN" .Values.origin
  "PODPASS_AUTHORITY_TENANT_ID" .Values.tenantID
  "PODPASS_AUTHORITY_LISTEN" ":8443"
  "PODPASS_AUTHORITY_HEALTH_LISTEN" ":8095"
  "PODPASS_AUTHORITY_TLS_CERTIFICATE" "/etc/podpass/tls/tls.crt"
  "PODPASS_AUTHORITY_TLS_KEY" "/etc/podpass/tls/tls.key"
  "PODPASS_AUTHORITY_SEALING_KEY_FILE" "/etc/podpass/sealing/sealing.key"
  "PODPASS_AUTHORITY_WORKERS" .Values.workers
  "PODPASS_AUTHORITY_SHUTDOWN_DELAY_SECONDS" .Values.shutdownDelaySeconds
  "PODPASS_AUTHORITY_DRAIN_SECONDS" .Values.drainSeconds
-}}
{{- if .Values.admin.enabled -}}
{{- $_ := set $data "PODPASS_AUTHORITY_ADMIN_LISTEN" ":8444" -}}
{{- with .Values.admin.origin -}}{{- $_ := set $data "PODPASS_AUTHORITY_ADMIN_ORIGIN" . -}}{{- end -}}
{{- end -}}
{{- with .Values.cluster.issuer -}}
{{- $_ := set $data "PODPASS_AUTHORITY_CLUSTER_ISSUER" . -}}
{{- $_ = set $data "PODPASS_AUTHORITY_CLUSTER_SERVER" $.Values.cluster.server -}}
{{- $_ = set $data "PODPASS_AUTHORITY_CLUSTER_CA_FILE" "/etc/podpass/cluster/ca.crt" -}}
{{- $_ = set $data "PODPASS_AUTHORITY_CLUSTER_TOKEN_FILE" "/etc/podpass/cluster/token" -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $data $name $value -}}{{- end -}}
{{- end -}}
{{- range $name, $value := $data -}}
{{- $_ := set $data $name (include "podpass-authority.setting" $value) -}}
{{- end -}}
{{- toJson $data -}}
{{- end -}}

{{- define "podpass-authority.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "podpass-authority.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Node selector and tolerations. */}}
{{- define "podpass-authority.placing" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "podpass-authority.databaseEnv" -}}
- name: PODPASS_AUTHORITY_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ .Values.databaseSecret | quote }}
      key: url
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of the `helm test` pod. With clientsFrom set, the NetworkPolicy also allows this pod. */}}
{{- define "podpass-authority.testLabels" -}}
app.kubernetes.io/component: test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels of the seed pods. No Service selects them. */}}
{{- define "podpass-authority.seedLabels" -}}
app.kubernetes.io/component: seed
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Egress that every pod of the chart needs: DNS and the database. */}}
{{- define "podpass-authority.egress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
- ports:
    - port: {{ .Values.networkPolicy.databasePort }}
{{- end -}}

{{/* True if the chart renders the seed Job. */}}
{{- define "podpass-authority.seeded" -}}
{{- if or .Values.seed.identities .Values.seed.resources .Values.seed.administrators -}}true{{- end -}}
{{- end -}}

{{/* Required values and invalid combinations, each with its fix. Every template includes this first: Helm's rendering order is
not defined, and Helm shows only the first error. */}}
{{- define "podpass-authority.check" -}}
{{- if not (.Values.image).repository -}}
{{- fail (printf "image.repository is required, because there is no public image: build and push it (docker build -f deploy/Dockerfile -t REGISTRY/podpass:%[1]s . && docker push REGISTRY/podpass:%[1]s), then set --set image.repository=REGISTRY/podpass" .Chart.AppVersion) -}}
{{- end -}}
{{- $_ := required "origin is required: the https://host[:port] under which clients reach the service, and which the tokens contain" .Values.origin -}}
{{- $_ = required "tenantID is required: the GUID of your tenant, in lower case. For a new tenant, generate one (uuidgen) and do not change it later" .Values.tenantID -}}
{{- $name := include "podpass-authority.name" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%s cannot name a Service, which begins with a letter and has letters, digits and '-' only: use such a release name, or set nameOverride" $name) -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.minAvailable .Values.podDisruptionBudget.maxUnavailable -}}
{{- fail "podDisruptionBudget.minAvailable and .maxUnavailable exclude each other: set one to 0" -}}
{{- end -}}
{{- if and .Values.admin.origin (not .Values.admin.enabled) -}}
{{- fail "admin.origin needs admin.enabled=true: without it the admin APIs are not served" -}}
{{- end -}}
{{- if and (hasKey (default dict .Values.settings) "PODPASS_AUTHORITY_ADMIN_LISTEN") (not .Values.admin.enabled) -}}
{{- fail "settings.PODPASS_AUTHORITY_ADMIN_LISTEN needs admin.enabled=true, which opens its port" -}}
{{- end -}}
{{- if and .Values.admin.enabled (eq (int .Values.admin.port) (int .Values.service.port)) -}}
{{- fail "admin.port and service.port are the same: set two different ports" -}}
{{- end -}}
{{- if and .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy needs service.type LoadBalancer or NodePort" -}}
{{- end -}}
{{- with .Values.cluster.issuer -}}
{{- if and $.Values.seed.clusterIssuer (ne . $.Values.seed.clusterIssuer) -}}
{{- fail "cluster.issuer and seed.clusterIssuer differ: both are the issuer of this cluster, so set only cluster.issuer" -}}
{{- end -}}
{{- end -}}
{{- range $identity := .Values.seed.identities -}}
{{- range $identity.federated_credentials -}}
{{- if and (eq .issuer "cluster") (not (or $.Values.seed.clusterIssuer $.Values.cluster.issuer)) -}}
{{- fail (printf "seed.identities: %s trusts issuer: cluster, and cluster.issuer is empty: set it to the issuer in the output of `kubectl get --raw /.well-known/openid-configuration`" $identity.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
