{{- /*
The rights of the Kubernetes store: exactly two objects, and no `list`. `watch` works by name because the store sends the field
selector metadata.name.
*/ -}}
{{- define "bearer-proxy.rules" -}}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ . }}]
  verbs: [get, watch, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ . }}]
  verbs: [get, patch]
{{- end -}}

{{- /* RBAC cannot restrict `create` to names. */ -}}
{{- define "bearer-proxy.createRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end -}}
