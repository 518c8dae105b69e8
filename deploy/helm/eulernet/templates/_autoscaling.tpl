{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The labels that the ServiceMonitor gives to the replicas' metrics: not the canary's, not another release's. */}}
{{- define "eulernet.autoscaling.service" -}}
namespace="{{ .Release.Namespace }}",service="{{ include "eulernet.replicasService" . }}"
{{- end }}

{{- define "eulernet.autoscaling.openStreams" -}}
sum(eulernet_open_streams{ {{- include "eulernet.autoscaling.service" . -}} })
{{- end }}

{{/* Mean time that a request (a stream's frame, or a clip) waits in the queues of all its stages, in ms: the sum of the
     times over the sum of the requests, since a mean over the models counts the idle ones. An ensemble's own queue is
     empty; in a server with one stage the models of that name have all of the queue. */}}
{{- define "eulernet.autoscaling.queueMilliseconds" -}}
{{- $service := include "eulernet.autoscaling.service" . -}}
{{- $window := printf "%vs" .Values.autoscaling.windowSeconds -}}
{{- $stages := "face_locate|face_detector|face_crop|eulernet|clip_locate|clip_crop|eulernet_clip|antispoof|antispoof_clip" -}}
sum(rate(nv_inference_queue_duration_us{ {{- $service }},model=~"{{ $stages }}"}[{{ $window }}])) / 1000 / clamp_min(sum(rate(nv_inference_request_success{ {{- $service }},model=~"antispoof|antispoof_clip"}[{{ $window }}])), 0.1)
{{- end }}
