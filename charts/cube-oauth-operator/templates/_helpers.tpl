{{- define "cube-oauth.name" -}}
{{- $release := .Release.Name | replace "." "-" }}
{{- ternary $release (printf "%s-cube-oauth" $release) (contains "cube-oauth" $release) | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "cube-oauth.tokenNamespace" -}}
{{ .Values.tokenNamespace.name | default (printf "%s-tokens" .Release.Namespace) }}
{{- end }}

{{- define "cube-oauth.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "cube-oauth.labels" -}}
app.kubernetes.io/name: cube-oauth-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "cube-oauth.selector" -}}
app.kubernetes.io/name: cube-oauth-operator
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Whether rights are given in all namespaces. */}}
{{- define "cube-oauth.everywhere" -}}
{{- if has "*" .Values.namespaces }}true{{ end -}}
{{- end }}

{{/* Whether anybody administers OAuth apps in the portal. */}}
{{- define "cube-oauth.admins" -}}
{{- if or .Values.admins.users .Values.admins.groups }}true{{ end -}}
{{- end }}

{{/* What cannot be guessed is asked for before anything is installed. */}}
{{- define "cube-oauth.check" -}}
{{- if not (regexMatch "^https://[^/?#]+/?$" .Values.portal.url) }}{{ fail "portal.url must be the portal's public https:// address without a path, for example https://connect.example.com" }}{{ end }}
{{- if .Values.login.proxy.addresses }}
{{- if .Values.login.issuer }}{{ fail "login.issuer and login.proxy.addresses are set: only one of them can say who somebody is" }}{{ end }}
{{- else }}
{{- if not (hasPrefix "https://" .Values.login.issuer) }}{{ fail "login.issuer must be the https:// issuer of the OpenID provider at which people log in to the portal" }}{{ end }}
{{- if not .Values.login.clientID }}{{ fail "login.clientID must be the client ID of the portal at login.issuer" }}{{ end }}
{{- end }}
{{- if not .Values.namespaces }}{{ fail "namespaces must list the namespaces in which OAuthApps and Cube live, for example {analytics}; [\"*\"] chooses all" }}{{ end }}
{{- $tokens := include "cube-oauth.tokenNamespace" . }}
{{- if eq .Release.Namespace $tokens }}{{ fail "tokenNamespace.name must be another namespace than the release's: keys and tokens are kept apart" }}{{ end }}
{{- if has $tokens .Values.namespaces }}{{ fail "tokenNamespace.name must be none of namespaces: whoever is at home there could read tokens" }}{{ end }}
{{- end }}

{{/* Settings that every process has. */}}
{{- define "cube-oauth.env" -}}
- {name: CUBE_OAUTH_NAME, value: {{ include "cube-oauth.name" . }}}
- {name: CUBE_OAUTH_NAMESPACE, value: {{ .Release.Namespace }}}
- {name: CUBE_OAUTH_TOKEN_NAMESPACE, value: {{ include "cube-oauth.tokenNamespace" . }}}
- {name: CUBE_OAUTH_NAMESPACES, value: {{ join "," .Values.namespaces | quote }}}
- {name: CUBE_OAUTH_PORTAL_URL, value: {{ .Values.portal.url | quote }}}
- {name: CUBE_OAUTH_USERNAME_CLAIM, value: {{ .Values.usernameClaim | quote }}}
- {name: CUBE_OAUTH_LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
{{- end }}

{{/* A variable that lists words, and nothing when there are none: the API server drops an empty value, and tools would find a change. */}}
{{- define "cube-oauth.words" -}}
{{- with index . 1 }}
- {name: {{ index $ 0 }}, value: {{ join "," . | quote }}}
{{- end }}
{{- end }}

{{/* The folder with a process's key ring; the argument is the name of the volume from a Secret. */}}
{{- define "cube-oauth.keysDirectory" -}}
{{- if .context.Values.keys.external.enabled }}{{ .context.Values.keys.external.directory }}{{ else }}/etc/cube-oauth/{{ .ring }}-ring{{ end -}}
{{- end }}

{{/* The file of one ring. In a Secret of ours it is called "ring". */}}
{{- define "cube-oauth.ringFile" -}}
{{ include "cube-oauth.keysDirectory" . }}/{{ ternary .ring "ring" .context.Values.keys.external.enabled }}
{{- end }}

{{/* Where the rings of a process are mounted, and from what. The argument says which process, and which ring (none: the controller reads Secrets itself). */}}
{{- define "cube-oauth.keysMount" -}}
{{- $external := .context.Values.keys.external }}
{{- if $external.enabled }}
{{- if index $external.volumes .process }}
- {name: keys, mountPath: {{ $external.directory }}, readOnly: true}
{{- end }}
{{- else if .ring }}
- {name: keys, mountPath: {{ include "cube-oauth.keysDirectory" . }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "cube-oauth.keysVolume" -}}
{{- $external := .context.Values.keys.external }}
{{- if $external.enabled }}
{{- with index $external.volumes .process }}
- name: keys
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else if .ring }}
- name: keys  # made by the controller at its first start; until then this pod waits
  secret: {secretName: {{ include "cube-oauth.name" .context }}-keys-{{ .ring }}}
{{- end }}
{{- end }}

{{- define "cube-oauth.podAnnotations" -}}
{{- $external := .context.Values.keys.external }}
{{- with merge (dict) (ternary (index $external.podAnnotations .process) (dict) $external.enabled) .context.Values.podAnnotations }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* Settings of those that call providers. */}}
{{- define "cube-oauth.providerEnv" -}}
{{- include "cube-oauth.words" (list "CUBE_OAUTH_ALLOWED_ADDRESSES" .Values.provider.allowedAddresses) }}
{{- if .Values.provider.caConfigMap.name }}
- {name: CUBE_OAUTH_EXTRA_CA_FILE, value: /etc/cube-oauth/provider-ca/{{ .Values.provider.caConfigMap.key }}}
{{- end }}
{{- end }}

{{- define "cube-oauth.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "cube-oauth.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "cube-oauth.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
{{- end }}

{{- define "cube-oauth.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
