{{/* What a schema could refuse only with a pattern, refused with a sentence. */}}
{{- define "millstream.check" -}}
{{- with .Values }}
{{- $ports := "^ *([0-9]{1,5}(-[0-9]{1,5})?( *, *[0-9]{1,5}(-[0-9]{1,5})?)*)? *$" }}
{{- $cidrs := "^( *[0-9a-fA-F]*[.:][0-9a-fA-F.:]*(/[0-9]{1,3})? *(,|$))*$" }}
{{- $duration := "^([0-9]+([.][0-9]+)?(ms|s|m|h))+$" }}
{{- $memory := "^[0-9]+(Ki|Mi|Gi|Ti)?$" }}
{{- $ipv4 := "^[0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}$" }}
{{- $ipv6 := "^[0-9a-fA-F:]*:[0-9a-fA-F:]*/[0-9]{1,3}$" }}
{{- $domain := "^[-a-zA-Z0-9]{1,63}([.][-a-zA-Z0-9]{1,63})*[.]?$" }}
{{- $folder := "^(/[-._A-Za-z0-9]+)+$" }}
{{- $checks := list
  (list "exclusions.excludeOutboundPorts" .exclusions.excludeOutboundPorts $ports "no list of ports; write it like \"9100, 8000-8010\"")
  (list "exclusions.excludeInboundPorts" .exclusions.excludeInboundPorts $ports "no list of ports; write it like \"9100, 8000-8010\"")
  (list "exclusions.excludeOutboundCidrs" .exclusions.excludeOutboundCidrs $cidrs "no list of networks; write it like \"169.254.169.254/32, 2001:db8::/32\"")
  (list "exclusions.excludeInboundCidrs" .exclusions.excludeInboundCidrs $cidrs "no list of networks; write it like \"169.254.169.254/32, 2001:db8::/32\"")
  (list "proxy.connectTimeout" .proxy.connectTimeout $duration "no duration; write it like 10s or 500ms")
  (list "proxy.idleTimeout" .proxy.idleTimeout $duration "no duration; write it like 1h or 90s")
  (list "drain.release" .drain.release $duration "no duration; write it like 1h or 90s")
  (list "drain.shutdown" .drain.shutdown $duration "no duration; write it like 20s")
  (list "canary.deadAfter" .canary.deadAfter $duration "no duration; write it like 5s or 500ms")
  (list "dns.clusterDomain" .dns.clusterDomain $domain "no domain; write it like cluster.local")
  (list "dns.ttl" .dns.ttl $duration "no duration; write it like 30s")
  (list "dns.allocation.ipv4" .dns.allocation.ipv4 $ipv4 "no IPv4 network; write it like 240.240.0.0/16")
  (list "dns.allocation.ipv6" .dns.allocation.ipv6 $ipv6 "no IPv6 network; write it like 2001:2::/48")
  (list "dns.allocation.quarantine" .dns.allocation.quarantine $duration "no duration; write it like 1h or 90s")
  (list "limits.buffers" .limits.buffers $memory "no amount of memory; write it like 256Mi")
  (list "limits.buffersPerPod" .limits.buffersPerPod $memory "no amount of memory; write it like 64Mi")
  (list "cni.confDir" .cni.confDir $folder "no folder of a node; write it like /etc/cni/net.d")
  (list "cni.binDir" .cni.binDir $folder "no folder of a node; write it like /opt/cni/bin") }}
{{- range $checks }}
{{- $name := index . 0 }}
{{- $value := index . 1 | default "" | toString }}
{{- if and $value (not (regexMatch (index . 2) $value)) }}
{{- fail (printf "%s: %q is %s." $name $value (index . 3)) }}
{{- end }}
{{- end }}
{{- range $list, $namespaces := dict "enrolment.excludeNamespaces" .enrolment.excludeNamespaces "cni.except" .cni.except }}
{{- range $namespaces }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" .) }}
{{- fail (printf "%s: %q is no name of a namespace: lower-case letters, digits and '-'." $list .) }}
{{- end }}
{{- end }}
{{- end }}
{{- range .dns.resolvers }}
{{- if not (regexMatch "^([0-9.]+(:[0-9]{1,5})?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*|\\[[0-9a-fA-F:.]+\\]:[0-9]{1,5})$" .) }}
{{- fail (printf "dns.resolvers: %q is not the address of a name server; write it like 192.0.2.53 or [2001:db8::53]:5353." .) }}
{{- end }}
{{- end }}
{{- if not .image.repository }}
{{- fail "image.repository: is empty; name the image, as in registry.example.com/millstream." }}
{{- end }}
{{- with .updateStrategy.rollingUpdate }}
{{- if and (eq (toString .maxSurge) "0") (eq (toString .maxUnavailable) "0") }}
{{- fail "updateStrategy: with maxSurge and maxUnavailable both 0 no agent could ever be replaced; leave maxSurge at 1." }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
