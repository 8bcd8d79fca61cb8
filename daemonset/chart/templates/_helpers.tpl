{{/* What everything of a release bears. Helm itself says that it is Helm's. */}}
{{- define "millstream.labels" -}}
{{ include "millstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* How the agents of a release are known. */}}
{{- define "millstream.selector" -}}
app.kubernetes.io/name: millstream
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The same of what is one for the whole cluster; its pods are not agents. */}}
{{- define "millstream.controllerLabels" -}}
{{ include "millstream.controllerSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "millstream.controllerSelector" -}}
app.kubernetes.io/name: millstream-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "millstream.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "millstream.cniConfDir" -}}
{{- $ofPlatform := dict
  "k3s" "/var/lib/rancher/k3s/agent/etc/cni/net.d"
  "microk8s" "/var/snap/microk8s/current/args/cni-network"
  "openshift" "/etc/kubernetes/cni/net.d" -}}
{{ .Values.cni.confDir | default (get $ofPlatform .Values.platform) | default "/etc/cni/net.d" }}
{{- end }}

{{- define "millstream.cniBinDir" -}}
{{- $ofPlatform := dict
  "k3s" "/var/lib/rancher/k3s/data/cni"
  "microk8s" "/var/snap/microk8s/current/opt/cni/bin"
  "gke" "/home/kubernetes/bin"
  "openshift" "/var/lib/cni/bin" -}}
{{ .Values.cni.binDir | default (get $ofPlatform .Values.platform) | default "/opt/cni/bin" }}
{{- end }}

{{/* Who admission policies are about. */}}
{{- define "millstream.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end }}

{{/* Lines `key: value` of those values that are set; values are scalars. Takes a list of [key, value]. */}}
{{- define "millstream.set" -}}
{{- range . }}
{{- $value := index . 1 }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{ index . 0 }}: {{ if kindIs "float64" $value }}{{ int64 $value }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
