{{- $gateway := .Values.gateway }}
{{- $limits := $gateway.limits }}
{{- $name := include "eulernet.gateway.name" . }}
{{- $models := list "antispoof" "antispoof_clip" }}
{{- $service := "/inference.GRPCInferenceService/" }}
{{- $canary := .Values.canary }}
{{- $shadow := include "eulernet.shadow" . | eq "true" }}
{{- $versions := list (dict "name" "replicas" "server" "replica" "context" .) }}
{{- if $canary.enabled }}
{{- $versions = append $versions (dict "name" "canary" "server" "canary" "context" (dict "canary" true "Values" .Values "Chart" .Chart "Release" .Release)) }}
{{- end }}
# SPDX-License-Identifier: Apache-2.0
# The gateway before the replicas. The environment gives what differs between gateways:
# GATEWAY_ADDRESS to listen on (empty: all), GATEWAY_NAME of this gateway, GATEWAY_CONFIG with this file,
# GATEWAY_FILES with certificates and tokens, GATEWAY_PEER_0, GATEWAY_PEER_1, … the addresses of the gateways.
global
  log stdout format raw local0 info
  lua-load-per-thread "${GATEWAY_CONFIG}/one_model.lua"
  localpeer "${GATEWAY_NAME}"
  nbthread {{ $gateway.threads }}
  maxconn {{ $limits.connections }}
  hard-stop-after {{ $gateway.drainSeconds }}s
  {{- if $gateway.tls.enabled }}
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-load-extra-del-ext  # tls.key belongs to tls.crt, as in a Secret of Kubernetes
  {{- end }}

defaults
  mode http
  log global
  timeout connect 2s
  timeout client 5m
  timeout server {{ $gateway.answerTimeoutSeconds }}s
  timeout http-request 10s
  timeout queue 5s
  timeout check 2s
  # Only a request of which no byte was sent goes to another replica: a stream's filter must not see a frame twice.
  retries 2
  retry-on conn-failure
  option redispatch 1
  option abortonclose
  # gRPC reads the cause from headers. 14, UNAVAILABLE: the client sends the request again.
  {{- range list 408 500 502 503 504 }}
  http-error status {{ . }} hdr grpc-status 14 hdr grpc-message "the gateway got no answer from a replica ({{ . }})"
  {{- end }}
  http-error status 400 hdr grpc-status 3 hdr grpc-message "the gateway takes gRPC only"

resolvers cluster
  {{- range $i, $server := $gateway.discovery.nameservers }}
  nameserver given{{ $i }} {{ $server }}
  {{- else }}
  parse-resolv-conf
  {{- end }}
  accepted_payload_size 8192
  timeout resolve 1s
  timeout retry 1s
  resolve_retries 3
  hold valid 1s
  hold obsolete 5s
  # Replicas stay known while DNS fails.
  {{- range list "nx" "other" "refused" "timeout" }}
  hold {{ . }} 10m
  {{- end }}

peers gateways
  bind "${GATEWAY_ADDRESS}:{{ $gateway.ports.peers }}"
  {{- range $i := until (int $gateway.replicas) }}
  .if streq("${GATEWAY_NAME}",{{ $name }}-{{ $i }})
  server {{ $name }}-{{ $i }}
  .else
  server {{ $name }}-{{ $i }} "${GATEWAY_PEER_{{ $i }}}:{{ $gateway.ports.peers }}"
  .endif
  {{- end }}

frontend clients
  bind "${GATEWAY_ADDRESS}:{{ $gateway.ports.grpc }}" proto h2
  {{- if $gateway.tls.enabled }} ssl alpn h2 crt "${GATEWAY_FILES}/tls/tls.crt"
  {{- if $gateway.tls.clientCaSecret }} verify required ca-file "${GATEWAY_FILES}/client-ca/ca.crt"{{ end }}
  {{- end }}
  # No value of eulernet-stream and no token is logged.
  log-format '{"time":"%tr","client":"%ci","caller":"%[var(txn.caller)]","method":"%[var(txn.method)]","model":"%[var(txn.model)]","server":"%s","grpc_status":"%[var(txn.grpc_status)]","http_status":%ST,"bytes":%U,"wait_ms":%Tw,"answer_ms":%Tr,"total_ms":%Ta,"state":"%tsc"}'
  http-request set-var(txn.method) path
  http-after-response set-header content-type application/grpc if { res.hdr(grpc-status) -m found }
  http-after-response set-var(txn.grpc_status) res.hdr(grpc-status)

  # Who calls: the name of the token, else of the client's certificate.
  {{- if $gateway.tls.clientCaSecret }}
  http-request set-var(txn.caller) ssl_c_s_dn(CN)
  {{- end }}
  {{- if $gateway.tokensSecret }}
  http-request unset-var(txn.caller)
  http-request set-var(txn.caller) "http_auth_bearer,sha2(256),hex,lower,map(${GATEWAY_FILES}/tokens/tokens.map)"
  {{- end }}
  http-request set-var(txn.client) src
  http-request set-var(txn.client) var(txn.caller) if { var(txn.caller) -m found }
  {{- if $limits.requestsPerSecond }}
  http-request track-sc0 var(txn.client) table client_rates
  http-request deny {{ include "eulernet.gateway.refusal" (list 14 (printf "too many requests of this client: at most %v a second" $limits.requestsPerSecond)) }} if { sc_http_req_rate(0) gt {{ mul $limits.requestsPerSecond 10 }} }
  {{- end }}
  {{- if $gateway.tokensSecret }}
  http-request deny {{ include "eulernet.gateway.refusal" (list 16 "no valid token") }} unless { var(txn.caller) -m found }
  {{- end }}

  # What is called: these methods only. ModelStreamInfer is not among them: only its first message is judged.
  acl infers path {{ $service }}ModelInfer
  acl names_a_model path{{ range list "ModelInfer" "ModelReady" "ModelMetadata" "ModelConfig" }} {{ $service }}{{ . }}{{ end }}
  acl asks path{{ range list "ServerLive" "ServerReady" "ServerMetadata" }} {{ $service }}{{ . }}{{ end }}
  http-request deny {{ include "eulernet.gateway.refusal" (list 7 "this method is closed at the gateway") }} if !names_a_model !asks || !METH_POST

  # A gRPC message begins with one byte for its compression and four for its length. Its first field is the model's name.
  http-request wait-for-body time 10s at-least 64
  http-request deny {{ include "eulernet.gateway.refusal" (list 3 "the gateway takes no compressed messages") }} if { req.body,bytes(0,1),hex -m str 01 }
  http-request set-var(txn.bytes) "req.body,bytes(1,4),be2dec(,4)"
  http-request deny {{ include "eulernet.gateway.refusal" (list 8 (printf "the message is larger than %v MiB" $limits.messageMiB)) }} if { var(txn.bytes) -m int gt {{ mul $limits.messageMiB 1048576 }} }
  http-request set-var(txn.model) "req.body,bytes(5,59),protobuf(1)" if names_a_model
  http-request deny {{ include "eulernet.gateway.refusal" (list 7 (printf "the gateway serves %s only" (join " and " $models))) }} if names_a_model !{ var(txn.model) -m str {{ join " " $models }} }
  acl streams var(txn.model) -m str {{ first $models }}
  http-request deny {{ include "eulernet.gateway.refusal" (list 3 "a stream needs the header eulernet-stream: one value of 1 to 64 characters for all its frames") }} if infers streams !{ req.hdr(eulernet-stream) -m len 1:64 }

  filter lua.one_model  # and no second name behind the first

  # What is passed on: the caller's name, and neither the token nor a key of Triton's closed methods.
  http-request del-header eulernet-caller
  http-request set-header eulernet-caller %[var(txn.caller)] if { var(txn.caller) -m found }
  http-request del-header authorization
  http-request del-header triton-grpc-protocol- -m beg
  {{- if $canary.enabled }}

  # Which version answers: the one that the caller names, else that of an open stream, else by weight. Questions about
  # models are answered by the stable version, since a client must not see two models.
  acl asks_canary req.hdr(eulernet-track) -m str canary
  acl asks_stable req.hdr(eulernet-track) -m str stable
  use_backend canary if asks_canary
  use_backend replicas if asks_stable || !infers
  use_backend canary if streams { req.hdr(eulernet-stream),in_table(canary) }
  use_backend replicas if streams { req.hdr(eulernet-stream),in_table(replicas) }
  use_backend canary if { rand(100) lt {{ $canary.weight }} } { nbsrv(canary) gt 0 }
  {{- if $shadow }}
  use_backend shadow if !streams { rand(100) lt {{ $canary.shadow.percent }} } { nbsrv(shadow) gt 0 }
  {{- end }}
  {{- else }}
  http-request deny {{ include "eulernet.gateway.refusal" (list 5 "no canary is deployed") }} if { req.hdr(eulernet-track) -m str canary }
  {{- end }}
  default_backend replicas
  {{- if $shadow }}

backend shadow
  # The relay beside this gateway: it answers from the stable version and copies clips to the canary.
  server relay 127.0.0.1:{{ $canary.shadow.ports.relay }} proto h2 check inter 1s fastinter 500ms downinter 1s fall 2 rise 1

frontend shadow_calls
  # The relay's calls, which have passed the rules above. Only this machine, or pod, reaches it.
  bind 127.0.0.1:{{ $canary.shadow.ports.back }} proto h2
  no log
  use_backend canary if { req.hdr(eulernet-track) -m str canary }
  default_backend replicas
  {{- end }}
{{- range $versions }}

backend {{ .name }}
  # Each request goes to the replica with the fewest. A stream's frames follow its first one.
  balance leastconn
  stick-table type string len 64 size {{ $limits.streams }} expire 10m srvkey addr peers gateways
  stick on req.hdr(eulernet-stream) if { var(txn.model) -m str {{ first $models }} }
  option httpchk
  # Here, since check-proto of a server line does not reach the servers after the first of a template.
  http-check connect port {{ $.Values.ports.health }} proto h1
  http-check send meth GET uri /readyz
  http-check expect status 200
  http-check disable-on-404  # a replica that drains: its streams go on, new ones go elsewhere
  default-server proto h2 check inter 1s fastinter 500ms downinter 1s fall 2 rise 1 on-marked-down shutdown-sessions
  server-template {{ .server }} 1-{{ $gateway.discovery.maxReplicas }} _grpc._tcp.{{ include "eulernet.replicasService" .context }}.{{ $.Release.Namespace }}.svc.{{ $gateway.discovery.clusterDomain }} resolvers cluster init-addr none
{{- end }}
{{- if $limits.requestsPerSecond }}

backend client_rates
  stick-table type string len 128 size 100k expire 1m store http_req_rate(10s)
{{- end }}

frontend observation
  bind "${GATEWAY_ADDRESS}:{{ $gateway.ports.metrics }}"
  no log
  http-request use-service prometheus-exporter if { path /metrics }
  http-request return status 200 if { path /livez }
  http-request return status 200 if { path /readyz } { nbsrv(replicas) gt 0 }
  http-request return status 503 if { path /readyz }
  http-request return status 404
