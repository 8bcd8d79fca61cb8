{{/* The agents' configuration: only what is set. */}}
{{- define "millstream.config" -}}
{{- with .Values -}}
enrolment:
  excludeNamespaces: {{ toJson .enrolment.excludeNamespaces }}
  whenAgentDown: {{ .enrolment.whenAgentDown }}
  {{- with .enrolment.enablementSelectors }}
  enablementSelectors: {{ toJson . }}
  {{- end }}
{{- with .exclusions }}
{{- include "millstream.section" (list "exclusions" (list
  (list "exclude-outbound-cidrs" .excludeOutboundCidrs)
  (list "exclude-outbound-ports" (toString .excludeOutboundPorts))
  (list "exclude-inbound-cidrs" .excludeInboundCidrs)
  (list "exclude-inbound-ports" (toString .excludeInboundPorts))
  (list "allow-overrides" (.allowOverrides | default nil)))) }}
{{- end }}
{{- with .proxy }}
{{- include "millstream.section" (list "proxy" (list
  (list "connect-timeout" .connectTimeout)
  (list "idle-timeout" .idleTimeout))) }}
{{- end }}
{{- with .limits }}
{{- include "millstream.section" (list "limits" (list
  (list "connections" .connections)
  (list "connections-per-pod" .connectionsPerPod)
  (list "buffers" .buffers)
  (list "buffers-per-pod" .buffersPerPod))) }}
{{- end }}
{{- with .drain }}
{{- include "millstream.section" (list "drain" (list
  (list "release" .release)
  (list "shutdown" .shutdown))) }}
{{- end }}
{{- with .canary }}
{{- include "millstream.section" (list "canary" (list (list "dead-after" .deadAfter))) }}
{{- end }}
same-node: {{ .sameNode }}
outbound-traffic-policy: {{ .outboundTrafficPolicy }}
{{- with .dns }}
dns:
  capture: {{ .capture }}
  cluster-domain: {{ toJson .clusterDomain }}
  {{- with include "millstream.set" (list (list "ttl" .ttl)) }}{{ . | trim | nindent 2 }}{{ end }}
  {{- with .allocation }}
  allocation:
    {{- /* To YAML, off is no word. */}}
    mode: {{ .mode | quote }}
    {{- with include "millstream.set" (list (list "ipv4" .ipv4) (list "ipv6" .ipv6) (list "quarantine" .quarantine)) }}
    {{- . | trim | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .resolvers }}
  resolvers: {{ toJson . }}
  {{- end }}
{{- end }}
{{- /* To YAML, off is no word. */}}
probes: {{ .probes | quote }}
metrics:
  port: {{ int64 .metrics.port }}
{{- with .steering }}
{{- $marks := include "millstream.set" (list (list "captured" .marks.captured) (list "agent" .marks.agent)) }}
{{- $steering := include "millstream.set" (list
  (list "table" .table)
  (list "rule-priority" .rulePriority)
  (list "guard-hook" .guardHook)) }}
{{- if or $marks $steering }}
steering:
  {{- with $marks }}
  marks: {{- . | trim | nindent 4 }}
  {{- end }}
  {{- with $steering }}{{ . | trim | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
{{- with .cni }}
{{- if .enabled }}
cni:
  conf-dir: /host/cni/net.d
  bin-dir: /host/cni/bin
  own-conflist: {{ .ownConflist }}
  when-unknown: {{ .whenUnknown }}
  except: {{ toJson .except }}
  status-gates-node: {{ .statusGatesNode }}
{{- end }}
{{- end }}
{{- if .startupTaint }}
startup-taint: true
{{- end }}
{{- end }}
{{- end }}

{{/* A section of those lines that say something, or nothing. Takes [name, list of [key, value]]. */}}
{{- define "millstream.section" -}}
{{- with include "millstream.set" (index . 1) }}
{{ index $ 0 }}: {{- . | trim | nindent 2 }}
{{- end }}
{{- end }}
