{{/* 52: the longest name made of it, of the seed's pods (`-seed-` and five letters), is then 63, as long as a label may be. */}}
{{- define "podpass-authority.name" -}}
{{- $given := default .Release.Name .Values.nameOverride -}}
{{- if not (or .Values.nameOverride (contains "podpass-authority" $given)) -}}
{{- $given = printf "%s-podpass-authority" $given -}}
{{- end -}}
{{- $given | trunc 52 | trimAll "-" -}}
{{- end -}}

{{/* That of deploy/authority: a Deployment keeps its selector, so what was applied by hand can become a release. */}}
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

{{/* One setting as its variable has it. Helm reads numbers as floats, and would write large ones as 1e+06. */}}
{{- define "podpass-authority.setting" -}}
{{- if kindIs "slice" . -}}
{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ toString . }}
{{- end -}}
{{- end -}}

{{/* What the process reads from its environment: the ConfigMap's data, in JSON. */}}
{{- define "podpass-authority.config" -}}
{{- $data := dict
  "PODPASS_AUTHORITY_ORIGIN" .Values.origin
  "PODPASS_AUTHORITY_TENANT_ID" .Values.tenantID
  "PODPASS_AUTHORITY_LISTEN" "0.0.0.0:8443"
  "PODPASS_AUTHORITY_HEALTH_LISTEN" "0.0.0.0:8095"
  "PODPASS_AUTHORITY_TLS_CERTIFICATE" "/etc/podpass/tls/tls.crt"
  "PODPASS_AUTHORITY_TLS_KEY" "/etc/podpass/tls/tls.key"
  "PODPASS_AUTHORITY_SEALING_KEY_FILE" "/etc/podpass/sealing/sealing.key"
  "PODPASS_AUTHORITY_WORKERS" .Values.workers
  "PODPASS_AUTHORITY_SHUTDOWN_DELAY_SECONDS" .Values.shutdownDelaySeconds
  "PODPASS_AUTHORITY_DRAIN_SECONDS" .Values.drainSeconds
-}}
{{- if .Values.admin.enabled -}}
{{- $_ := set $data "PODPASS_AUTHORITY_ADMIN_LISTEN" "0.0.0.0:8444" -}}
{{- with .Values.admin.origin -}}{{- $_ := set $data "PODPASS_AUTHORITY_ADMIN_ORIGIN" . -}}{{- end -}}
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

{{/* Where pods may run. */}}
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

{{/* The pod of `helm test`, which a policy that names clients lets in beside them. */}}
{{- define "podpass-authority.testLabels" -}}
app.kubernetes.io/component: test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The seed's pods, which no Service may select. */}}
{{- define "podpass-authority.seedLabels" -}}
app.kubernetes.io/component: seed
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The ways out that every pod of ours needs: names and the database. */}}
{{- define "podpass-authority.egress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
- ports:
    - port: {{ .Values.networkPolicy.databasePort }}
{{- end -}}

{{/* Whether there is something to seed. */}}
{{- define "podpass-authority.seeded" -}}
{{- if or .Values.seed.identities .Values.seed.administrators -}}true{{- end -}}
{{- end -}}

{{/* What is missing, and combinations that cannot work, each with what to do. Every template asks it first: Helm renders them
in an order of its own, and the first that fails is what the user reads. */}}
{{- define "podpass-authority.check" -}}
{{- $_ := required "origin is required: the https://host[:port] under which clients reach the service, which tokens name" .Values.origin -}}
{{- $_ = required "tenantID is required: the GUID of your tenant, in lower case; for a new one make it up, e.g. by uuidgen, and keep it" .Values.tenantID -}}
{{- $name := include "podpass-authority.name" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%s cannot name a Service, which begins with a letter and has letters, digits and '-' only: name the release so, or set nameOverride" $name) -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.minAvailable .Values.podDisruptionBudget.maxUnavailable -}}
{{- fail "podDisruptionBudget.minAvailable and .maxUnavailable exclude each other: set one to 0" -}}
{{- end -}}
{{- if and .Values.admin.origin (not .Values.admin.enabled) -}}
{{- fail "admin.origin needs admin.enabled=true: nothing answers there without it" -}}
{{- end -}}
{{- if and (hasKey (default dict .Values.settings) "PODPASS_AUTHORITY_ADMIN_LISTEN") (not .Values.admin.enabled) -}}
{{- fail "settings.PODPASS_AUTHORITY_ADMIN_LISTEN needs admin.enabled=true, which opens its port" -}}
{{- end -}}
{{- if and .Values.admin.enabled (eq (int .Values.admin.port) (int .Values.service.port)) -}}
{{- fail "admin.port and service.port are the same: the Service needs two" -}}
{{- end -}}
{{- if and .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy needs service.type LoadBalancer or NodePort" -}}
{{- end -}}
{{- range $identity := .Values.seed.identities -}}
{{- range $identity.federated_credentials -}}
{{- if and (eq .issuer "cluster") (not $.Values.seed.clusterIssuer) -}}
{{- fail (printf "seed.identities: %s trusts issuer: cluster, and seed.clusterIssuer is empty: set it to what `kubectl get --raw /.well-known/openid-configuration` has as issuer" $identity.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
