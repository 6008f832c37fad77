{{- /*
The dashboard of one chart for Grafana: `kontor.dashboard` is its JSON. A panel says what it shows, in what unit, and what
it asks for: expressions, each with its legend.
*/ -}}

{{- define "kontor.dashboard" -}}
{{- $source := dict "type" "prometheus" "uid" "${datasource}" -}}
{{- $kind := ternary "gateway" "service" (eq .Chart.Name "gateway") -}}
{{- $panels := list -}}
{{- range $index, $panel := fromYamlArray (include (printf "kontor.panels.%s" $kind) .) -}}
{{- $targets := list -}}
{{- range $expr, $legend := .asks -}}
{{- $targets = append $targets (dict "refId" (printf "Q%d" (len $targets)) "expr" $expr "legendFormat" $legend) -}}
{{- end -}}
{{- $place := dict "x" (mul 8 (mod $index 3)) "y" (mul 8 (div $index 3)) "w" 8 "h" 8 -}}
{{- $looks := dict "defaults" (dict "unit" .unit "min" 0) "overrides" list -}}
{{- $panels = append $panels (dict "id" (add1 $index) "type" "timeseries" "title" .title "datasource" $source
  "gridPos" $place "fieldConfig" $looks "targets" $targets) -}}
{{- end -}}
{{- $variable := dict "name" "datasource" "type" "datasource" "query" "prometheus" "label" "Prometheus" -}}
{{- dict "uid" (printf "kontor-%s-%s" .Release.Namespace .Chart.Name | trunc 40) "title" (printf "Kontor %s" .Chart.Name)
  "tags" (list "kontor") "schemaVersion" 39 "editable" false "refresh" "30s" "time" (dict "from" "now-3h" "to" "now")
  "templating" (dict "list" (list $variable)) "panels" $panels | toPrettyJson }}
{{- end }}

{{- define "kontor.panels.service" -}}
{{- $of := include "kontor.target" . -}}
- title: Calls
  unit: reqps
  asks:
    kontor:calls:rate5m{ {{- $of -}} }: all
    sum by (method) (rate(kontor_rpc_seconds_count{ {{- $of -}} }[$__rate_interval])): '{{ "{{method}}" }}'
- title: Failed calls
  unit: percentunit
  asks:
    kontor:failed:rate5m{ {{- $of }}} / kontor:calls:rate5m{ {{- $of -}} }: a fault of ours
    sum by (code) (rate(kontor_rpc_seconds_count{ {{- $of }},code!="OK"}[$__rate_interval])) / scalar(kontor:calls:rate5m{ {{- $of -}} }): '{{ "{{code}}" }}'
- title: Slow calls
  unit: percentunit
  asks:
    kontor:slow:rate5m{ {{- $of }}} / kontor:calls:rate5m{ {{- $of -}} }: over half a second
- title: Duration
  unit: s
  asks:
    {{- range list "0.5" "0.95" "0.99" }}
    histogram_quantile({{ . }}, sum by (le) (rate(kontor_rpc_seconds_bucket{ {{- $of -}} }[$__rate_interval]))): '{{ . }}'
    {{- end }}
- title: Threads
  unit: short
  asks:
    sum by (instance) (kontor_rpc_in_flight{ {{- $of -}} }): 'busy {{ "{{instance}}" }}'
    sum by (instance) (kontor_rpc_waiting{ {{- $of -}} }): 'calls wait {{ "{{instance}}" }}'
    max(kontor_threads{ {{- $of -}} }): there are
- title: Connections to the database
  unit: short
  asks:
    sum by (instance, pool) (kontor_pool_used{ {{- $of -}} }): 'used {{ "{{pool}} {{instance}}" }}'
    sum by (instance, pool) (kontor_pool_waiting{ {{- $of -}} }): 'wait {{ "{{pool}} {{instance}}" }}'
    max by (pool) (kontor_pool_size{ {{- $of -}} }): 'at most {{ "{{pool}}" }}'
- title: Calls to other services
  unit: reqps
  asks:
    sum by (rpc_service, code) (rate(kontor_client_seconds_count{ {{- $of -}} }[$__rate_interval])): '{{ "{{rpc_service}} {{code}}" }}'
- title: Subscribers
  unit: short
  asks:
    sum by (instance) (kontor_rpc_streams{ {{- $of -}} }): '{{ "{{instance}}" }}'
    sum by (code) (increase(kontor_rpc_stream_seconds_count{ {{- $of -}} }[$__rate_interval])): 'ended {{ "{{code}}" }}'
- title: How old what waits is
  unit: s
  asks:
    max(kontor_change_log_lag_seconds{ {{- $of -}} }): changes not in the log
    max(kontor_relay_lag_seconds{ {{- $of -}} }): changes not at the broker
    max(kontor_inbox_oldest_seconds{ {{- $of -}} }): events not handled
    max(kontor_operations_oldest_seconds{ {{- $of -}} }): operations not worked on
    max by (task) (kontor_job_overdue_seconds{ {{- $of -}} }): 'turn of {{ "{{task}}" }}'
- title: Sources not heard of
  unit: s
  asks:
    max by (source) (kontor_source_silent_seconds{ {{- $of -}} }): '{{ "{{source}}" }}'
    max(kontor_amqp_connected{ {{- $of -}} }): 1 where the broker is reached
- title: Events
  unit: short
  asks:
    sum by (outcome) (rate(kontor_inbox_handled_total{ {{- $of -}} }[$__rate_interval])): '{{ "{{outcome}}" }} per second'
    sum by (outcome) (rate(kontor_amqp_received_total{ {{- $of -}} }[$__rate_interval])): '{{ "{{outcome}}" }} from the broker'
    max(kontor_inbox_dead{ {{- $of -}} }): dead
- title: Work that does not go on
  unit: short
  asks:
    max(kontor_operations_stuck{ {{- $of -}} }): operations stuck
    sum by (task) (increase(kontor_job_turns_total{ {{- $of }},outcome!="done"}[1h])): 'failed turns of {{ "{{task}}" }}'
    max by (task) (kontor_due_late{ {{- $of -}} }): 'late by {{ "{{task}}" }}'
- title: Health
  unit: short
  asks:
    min by (instance, check) (kontor_health{ {{- $of -}} }): '{{ "{{check}} {{instance}}" }}'
- title: Versions
  unit: short
  asks:
    count by (version, python) (kontor_build_info{ {{- $of -}} }): '{{ "{{version}} on Python {{python}}" }}'
- title: Processor
  unit: short
  asks:
    sum by (instance) (rate(process_cpu_seconds_total{ {{- $of -}} }[$__rate_interval])): 'cores {{ "{{instance}}" }}'
- title: Memory
  unit: bytes
  asks:
    sum by (instance) (process_resident_memory_bytes{ {{- $of -}} }): '{{ "{{instance}}" }}'
{{- end }}

{{- define "kontor.panels.gateway" -}}
{{- $of := include "kontor.target" . -}}
{{- $front := printf `%s,envoy_http_conn_manager_prefix="gateway"` $of -}}
- title: Requests
  unit: reqps
  asks:
    sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{ {{- $front -}} }[$__rate_interval])): '{{ "{{envoy_response_code_class}}xx" }}'
- title: Failed requests
  unit: percentunit
  asks:
    kontor:failed:rate5m{ {{- $of }}} / kontor:calls:rate5m{ {{- $of -}} }: 5xx
- title: Duration, streams included
  unit: ms
  asks:
    {{- range list "0.5" "0.95" "0.99" }}
    histogram_quantile({{ . }}, sum by (le) (rate(envoy_http_downstream_rq_time_bucket{ {{- $front -}} }[$__rate_interval]))): '{{ . }}'
    {{- end }}
- title: Requests by service
  unit: reqps
  asks:
    sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_rq_total{ {{- $of -}} }[$__rate_interval])): '{{ "{{envoy_cluster_name}}" }}'
- title: Repeated by the gateway
  unit: reqps
  asks:
    sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_rq_retry{ {{- $of -}} }[$__rate_interval])): '{{ "{{envoy_cluster_name}}" }}'
- title: Replicas that are not well
  unit: short
  asks:
    max by (envoy_cluster_name) (envoy_cluster_membership_total{ {{- $of }}} - envoy_cluster_membership_healthy{ {{- $of -}} }): '{{ "{{envoy_cluster_name}}" }}'
- title: Connections
  unit: short
  asks:
    sum by (instance) (envoy_http_downstream_cx_active{ {{- $front -}} }): '{{ "{{instance}}" }}'
- title: Memory
  unit: bytes
  asks:
    sum by (instance) (envoy_server_memory_allocated{ {{- $of -}} }): '{{ "{{instance}}" }}'
{{- end }}
