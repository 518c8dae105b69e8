{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Name of everything that belongs to this release. */}}
{{- define "eulernet.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that never change, for selectors. Called with (list . "server"), the component. */}}
{{- define "eulernet.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object. Called with (list . "server"). */}}
{{- define "eulernet.labels" -}}
{{- $root := index . 0 -}}
{{ include "eulernet.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | quote }}
{{- end }}

{{- define "eulernet.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}
{{- else }}{{ printf "%s:%s" .repository (.tag | default (printf "%s-%s" $.Chart.AppVersion $.Values.target)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Component of the replicas. canary.yaml renders their templates a second time, with `canary` in the context. */}}
{{- define "eulernet.component" -}}
{{ if .canary }}canary{{ else }}server{{ end }}
{{- end }}

{{/* Name of what belongs to the replicas of one version. */}}
{{- define "eulernet.serverName" -}}
{{ include "eulernet.fullname" . }}{{ if .canary }}-canary{{ end }}
{{- end }}

{{/* The headless Service: one DNS record a replica. */}}
{{- define "eulernet.replicasService" -}}
{{ include "eulernet.serverName" . }}-replicas
{{- end }}

{{/* Security of every container. */}}
{{- define "eulernet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The user of the image. */}}
{{- define "eulernet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Seconds from SIGTERM to SIGKILL: the drain, and time for the server to end and the door after it. */}}
{{- define "eulernet.graceSeconds" -}}
{{- if ge (int .Values.supervisor.drainMinSeconds) (int .Values.supervisor.drainTimeoutSeconds) }}
{{- fail (printf "supervisor.drainMinSeconds (%v) must be below supervisor.drainTimeoutSeconds (%v)" .Values.supervisor.drainMinSeconds .Values.supervisor.drainTimeoutSeconds) }}
{{- end }}
{{- add .Values.supervisor.drainTimeoutSeconds 30 }}
{{- end }}

{{/* Ports on the pod's loopback, which only the door connects to. */}}
{{- define "eulernet.loopbackPorts" -}}
grpc: 8001
metrics: 8002
health: 8003
{{- end }}
