{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Name of the gateway's objects; its pods have a number after it. */}}
{{- define "eulernet.gateway.name" -}}
{{ include "eulernet.fullname" . }}-gateway
{{- end }}

{{/* Arguments of HAProxy's deny for a gRPC status and text. Called with (list 7 "text"). */}}
{{- define "eulernet.gateway.refusal" -}}
deny_status 200 hdr grpc-status {{ index . 0 }} hdr grpc-message "{{ index . 1 }}"
{{- end }}

{{/* Whether a share of the clips is copied to the canary: "true" or "false". */}}
{{- define "eulernet.shadow" -}}
{{ and .Values.canary.enabled (gt (int .Values.canary.shadow.percent) 0) }}
{{- end }}

{{/* The container beside each gateway that copies clips to the canary. It reaches both versions through the gateway. A
     relay that ends is started again here: a container that ends would take its gateway out of the Service. */}}
{{- define "eulernet.gateway.shadow" -}}
{{- $ports := .Values.canary.shadow.ports -}}
- name: shadow
  image: {{ include "eulernet.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
    - /bin/bash
    - -c
    - |
      trap 'kill "$relay"; exit 0' TERM
      while true; do
        eulernet rollout shadow "$@" & relay=$!
        wait "$relay"
        sleep 5 & wait $!
      done
    - shadow
  args:
    - --listen=127.0.0.1:{{ $ports.relay }}
    - --url=127.0.0.1:{{ $ports.back }}
    - --header=eulernet-track=stable
    - --candidate-url=127.0.0.1:{{ $ports.back }}
    - --candidate-header=eulernet-track=canary
    - --metrics-listen=0.0.0.0:{{ $ports.metrics }}
  ports:
    - {name: shadow, containerPort: {{ $ports.metrics }}}
  securityContext: {{- include "eulernet.containerSecurity" . | nindent 4 }}
  resources:
    requests: {cpu: 100m, memory: {{ .Values.canary.shadow.memoryMiB }}Mi}
    limits: {memory: {{ .Values.canary.shadow.memoryMiB }}Mi}
{{- end }}

{{/* HAProxy's configuration, the same for each gateway. */}}
{{- define "eulernet.gateway.config" -}}
{{ tpl (.Files.Get "files/haproxy.cfg.tpl") . | trim }}
{{- end }}
