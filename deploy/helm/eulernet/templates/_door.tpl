{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The door's configuration: the pod's ports, carried to its loopback as they come. The gateway judges requests. */}}
{{- define "eulernet.door" -}}
{{- $loopback := include "eulernet.loopbackPorts" . | fromYaml -}}
global
  log stdout format raw local0 notice
  maxconn 1024

defaults
  mode tcp
  log global
  timeout connect 2s
  timeout client 1h  # an open stream may be silent for as long as the server allows
  timeout server 1h
  timeout client-fin 10s
  timeout server-fin 10s
{{ range $name, $port := .Values.ports }}
listen {{ $name }}
  bind :{{ $port }}
  server replica 127.0.0.1:{{ index $loopback $name }}
{{ end }}
{{- end }}

{{/* Where a volume with a model repository is mounted. */}}
{{- define "eulernet.repositoryMount" -}}
name: repository
mountPath: /repository
readOnly: true
{{- with .Values.repository.subPath }}
subPath: {{ . }}
{{- end }}
{{- end }}
