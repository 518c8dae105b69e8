{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Name of the gateway's objects; its pods have a number after it. */}}
{{- define "eulernet.gateway.name" -}}
{{ include "eulernet.fullname" . }}-gateway
{{- end }}

{{/* Arguments of HAProxy's deny for a gRPC status and text. Called with (list 7 "text"). */}}
{{- define "eulernet.gateway.refusal" -}}
deny_status 200 hdr grpc-status {{ index . 0 }} hdr grpc-message "{{ index . 1 }}"
{{- end }}

{{/* HAProxy's configuration, the same for each gateway. */}}
{{- define "eulernet.gateway.config" -}}
{{ tpl (.Files.Get "files/haproxy.cfg.tpl") . | trim }}
{{- end }}
