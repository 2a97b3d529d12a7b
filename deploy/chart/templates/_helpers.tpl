{{/* The name of every object, but for a suffix of up to ten characters. A Service's begins with a letter and has no dot. */}}
{{- define "openai-cert-exporter.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "r%s" $name }}{{ end -}}
{{- regexReplaceAll "-+$" ($name | replace "." "-" | trunc 53) "" -}}
{{- end }}

{{/* What selects the pods, for ever: a Deployment's selector cannot be changed. */}}
{{- define "openai-cert-exporter.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* An object's metadata. Takes the root as `root`, and optionally suffix, namespace, labels and annotations. */}}
{{- define "openai-cert-exporter.metadata" -}}
{{- $own := dict "app.kubernetes.io/version" .root.Chart.AppVersion -}}
name: {{ include "openai-cert-exporter.name" .root }}{{ .suffix }}
namespace: {{ .namespace | default .root.Release.Namespace | quote }}
labels:
  {{- merge (include "openai-cert-exporter.selector" .root | fromYaml) $own (.labels | default dict) .root.Values.labels | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "openai-cert-exporter.image" -}}
{{- $image := .Values.image -}}
{{- $host := first (splitList "/" $image.repository) -}}
{{- $complete := and (contains "/" $image.repository) (regexMatch "[.:]|^localhost$" $host) -}}
{{- if and $image.registry (not $complete) }}{{ trimSuffix "/" $image.registry }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The Secrets to mount, each as the folder /run/secrets/NAME, so that what is rotated arrives. */}}
{{- define "openai-cert-exporter.secrets" -}}
{{- with .Values }}
admin-key: {{ ternary "" .adminKey.secret .demo | quote }}
client-certificate: {{ .clientCertificate.secret | quote }}
certificate-authority: {{ .certificateAuthority.secret | quote }}
web: {{ .web.secret | quote }}
{{- end }}
{{- end }}

{{- define "openai-cert-exporter.volumes" -}}
- name: config
  configMap:
    name: {{ include "openai-cert-exporter.name" . }}
{{- range $name, $secret := include "openai-cert-exporter.secrets" . | fromYaml }}
{{- if $secret }}
- name: {{ $name }}
  secret:
    secretName: {{ $secret | quote }}
    defaultMode: 292 # 0444: readable for any user that the pod runs as; no other pod has the volume
{{- end }}
{{- end }}
{{- with .Values.clientSecrets }}
- name: client-secrets
  projected:
    defaultMode: 292
    sources:
      {{- range . }}
      - secret:
          name: {{ . | quote }}
          optional: true # a client's missing Secret does not keep the others from being monitored
          items:
            - key: tls.crt # the private key stays where it is
              path: {{ . }}/tls.crt
      {{- end }}
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "openai-cert-exporter.volumeMounts" -}}
- name: config
  mountPath: /etc/openai-cert-exporter
  readOnly: true
{{- range $name, $secret := include "openai-cert-exporter.secrets" . | fromYaml }}
{{- if $secret }}
- name: {{ $name }}
  mountPath: /run/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- if .Values.clientSecrets }}
- name: client-secrets
  mountPath: /run/clients
  readOnly: true
{{- end }}
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the pods of the Deployment and of the test have in common. */}}
{{- define "openai-cert-exporter.pod" -}}
serviceAccountName: {{ include "openai-cert-exporter.name" . }}
automountServiceAccountToken: false # it never talks to the cluster
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* What their containers have in common. */}}
{{- define "openai-cert-exporter.container" -}}
image: {{ include "openai-cert-exporter.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
{{- end }}

{{/* A probe by the port that a kubelet can ask. Takes the root as `root`, and the path. */}}
{{- define "openai-cert-exporter.httpGet" -}}
{{- $web := .root.Values.web -}}
httpGet:
  path: {{ .path }}
  port: {{ ternary "probe" "http" (gt (int $web.probePort) 0) }}
  {{- if and $web.tls (not $web.probePort) }}
  scheme: HTTPS
  {{- end }}
{{- end }}

{{/* config.toml. What JSON writes for a string, number, boolean or list is the same in TOML; toToml makes floats of numbers. */}}
{{- define "openai-cert-exporter.config" -}}
{{- $api := dict -}}
{{- $poll := dict -}}
{{- $web := dict -}}
{{- with .Values -}}
{{- if .demo }}{{ $_ := set $api "admin_key" "demo" }}{{ end -}}
{{- if and .adminKey.secret (not .demo) }}{{ $_ := set $api "admin_key_file" (printf "/run/secrets/admin-key/%s" .adminKey.key) }}{{ end -}}
{{- if .clientCertificate.secret -}}
{{- $_ := set $api "client_cert_file" (printf "/run/secrets/client-certificate/%s" .clientCertificate.certificate) -}}
{{- $_ := set $api "client_key_file" (printf "/run/secrets/client-certificate/%s" .clientCertificate.key) -}}
{{- end -}}
{{- if .certificateAuthority.secret }}{{ $_ := set $api "ca_file" (printf "/run/secrets/certificate-authority/%s" .certificateAuthority.key) }}{{ end -}}
{{- if .state.enabled }}{{ $_ := set $poll "state_file" "/var/lib/openai-cert-exporter/state" }}{{ end -}}
{{- if .web.secret }}{{ $_ := set $web "config_file" (printf "/run/secrets/web/%s" .web.key) }}{{ end -}}
{{- if .web.probePort }}{{ $_ := set $web "probe_listen_address" (printf ":%d" (int .web.probePort)) }}{{ end -}}
# Settings that differ from the program's defaults.
{{- range $section, $content := merge (deepCopy .config) (dict "api" $api "poll" $poll "web" $web) }}
{{- range $keys := ternary $content (list $content) (kindIs "slice" $content) }}
{{- if $keys }}
{{ ternary "[[%s]]" "[%s]" (kindIs "slice" $content) | replace "%s" $section }}
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
