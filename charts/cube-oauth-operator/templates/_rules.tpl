{{- define "cube-oauth.tenantRules.controller" -}}
- apiGroups: [cubeoauth.dev]
  resources: [oauthapps, usercredentials]
  verbs: [get, list, watch]
- apiGroups: [cubeoauth.dev]
  resources: [oauthapps/status, usercredentials/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.clientSecretNames }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [get]
{{- if or (include "cube-oauth.admins" .) .Values.serviceAccounts.enabled }}
- apiGroups: [""]  # client secrets typed into the portal, service accounts for Cube's pods; a ValidatingAdmissionPolicy says which
  resources: [secrets]
  verbs: [create, update{{ if .Values.serviceAccounts.enabled }}, delete{{ end }}]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# pods with old sidecars, Deployments with the label in the wrong place, and who is told
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [list{{ if .Values.restarts.enabled }}, patch{{ end }}]  # a ValidatingAdmissionPolicy says what may be patched
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
{{- end }}

{{- define "cube-oauth.tenantRules.broker" -}}
- apiGroups: [cubeoauth.dev]
  resources: [oauthapps, usercredentials]
  verbs: [list, watch]
- apiGroups: [cubeoauth.dev]
  resources: [usercredentials/status{{ if .Values.serviceAccounts.enabled }}, oauthapps/status{{ end }}]  # of these a policy says what
  verbs: [patch]
# what became of a pod is told to its Deployment
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "cube-oauth.tenantRules.portal" -}}
- apiGroups: [cubeoauth.dev]
  resources: [oauthapps]
  verbs: [list, watch{{ if include "cube-oauth.admins" . }}, get, create, patch, delete{{ end }}]
- apiGroups: [cubeoauth.dev]
  resources: [usercredentials]
  verbs: [get, list, watch, create, delete]
{{- end }}
