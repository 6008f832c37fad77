{{- /*
The rules of one chart for Prometheus: `kontor.alerts` is the groups of a PrometheusRule.

Targets bear the labels `namespace`, `job` (the chart: sales) and `role` (serve, work, receive). Each alert has a page in
docs/operations/alerts. In summaries [[ ]] stands for the braces that Prometheus fills.
*/ -}}

{{- define "kontor.alerts" -}}
{{- $kind := ternary "gateway" "service" (eq .Chart.Name "gateway") -}}
{{- $all := concat
  (fromYamlArray (include (printf "kontor.alerts.%s" $kind) .))
  (fromYamlArray (include "kontor.alerts.calls" .)) -}}
{{- $pages := .Values.global.monitoring.runbooks | default "" -}}
- name: kontor-{{ .Chart.Name }}-records
  rules:
    {{- include (printf "kontor.records.%s" $kind) . | nindent 4 }}
- name: kontor-{{ .Chart.Name }}-alerts
  rules:
  {{- range $all }}
  {{- $page := printf "docs/operations/alerts/%s.md" .alert }}
  {{- $annotations := dict "runbook" $page "summary" (.summary | replace "[[" "{{" | replace "]]" "}}") }}
  {{- with $pages }}{{ $_ := set $annotations "runbook_url" (printf "%s/%s" (trimSuffix "/" .) (base $page)) }}{{ end }}
  {{- $rule := dict "alert" .alert "expr" (trim .expr) "for" .for }}
  {{- $_ := set $rule "labels" (dict "severity" .severity) }}
  {{- toYaml (list (set $rule "annotations" $annotations)) | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* What chooses the series of this chart. */ -}}
{{- define "kontor.target" -}}
namespace="{{ .Release.Namespace }}",job="{{ .Chart.Name }}"
{{- end }}

{{- /* Calls per second, those that failed for a reason of ours, and those that took longer than half a second. */ -}}
{{- define "kontor.records.service" -}}
{{- $of := include "kontor.target" . -}}
{{- $count := printf `{__name__=~"kontor_(rpc|http)_seconds_count",%s` $of -}}
- record: kontor:calls:rate5m
  expr: sum by (namespace, job) (rate({{ $count }}}[5m]))
- record: kontor:failed:rate5m
  expr: >-
    sum by (namespace, job)
    (rate({{ $count }},code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|DATA_LOSS|5.."}[5m]))
    or kontor:calls:rate5m{ {{- $of -}} } * 0
- record: kontor:slow:rate5m
  expr: >-
    kontor:calls:rate5m{ {{- $of -}} }
    - sum by (namespace, job) (rate({__name__=~"kontor_(rpc|http)_seconds_bucket",{{ $of }},le="0.5"}[5m]))
{{- end }}

{{- /* The same of the gateway: a stream is open for as long as somebody listens, so that nothing is slow here. */ -}}
{{- define "kontor.records.gateway" -}}
{{- $of := printf `%s,envoy_http_conn_manager_prefix="gateway"` (include "kontor.target" .) -}}
- record: kontor:calls:rate5m
  expr: sum by (namespace, job) (rate(envoy_http_downstream_rq_completed{ {{- $of -}} }[5m]))
- record: kontor:failed:rate5m
  expr: >-
    sum by (namespace, job) (rate(envoy_http_downstream_rq_xx{ {{- $of }},envoy_response_code_class="5"}[5m]))
    or kontor:calls:rate5m{ {{- include "kontor.target" . -}} } * 0
{{- end }}

{{- /* Whether more than a share of the calls was bad in a long window and still is in a short one, and not by chance. */ -}}
{{- define "kontor.burns" -}}
{{- $bad := printf "kontor:%s:rate5m{%s}" .bad .of -}}
{{- $calls := printf "kontor:calls:rate5m{%s}" .of -}}
{{- range $index, $window := list .long .short }}
{{- if $index }} and {{ end }}sum_over_time({{ $bad }}[{{ $window }}]) / sum_over_time({{ $calls }}[{{ $window }}]) > {{ $.share }}
{{- end }} and avg_over_time({{ $bad }}[{{ .long }}]) * {{ .seconds }} > 10
{{- end }}

{{- /* Service levels: 99.9% of the calls do not fail, 99% are answered within half a second, over 30 days. */ -}}
{{- define "kontor.alerts.calls" -}}
{{- $of := include "kontor.target" . -}}
{{- $levels := list (dict "name" "Error" "bad" "failed" "budget" 0.001 "what" "fail") -}}
{{- if ne .Chart.Name "gateway" }}
{{- $levels = append $levels (dict "name" "Latency" "bad" "slow" "budget" 0.01 "what" "are slow") -}}
{{- end }}
{{- range $levels }}
{{- $level := merge . (dict "of" $of) }}
- alert: Kontor{{ .name }}BudgetBurnsFast
  severity: page
  for: 1m
  expr: >-
    ({{ include "kontor.burns" (merge (dict "long" "1h" "short" "5m" "seconds" 3600 "share" (mulf 14.4 .budget)) $level) }})
    or ({{ include "kontor.burns" (merge (dict "long" "6h" "short" "30m" "seconds" 21600 "share" (mulf 6 .budget)) $level) }})
  summary: So many calls of [[ $labels.job ]] {{ .what }} that what a month allows is gone within days.
- alert: Kontor{{ .name }}BudgetBurnsSlowly
  severity: ticket
  for: 15m
  expr: >-
    ({{ include "kontor.burns" (merge (dict "long" "1d" "short" "2h" "seconds" 86400 "share" (mulf 3 .budget)) $level) }})
    or ({{ include "kontor.burns" (merge (dict "long" "3d" "short" "6h" "seconds" 259200 "share" .budget) $level) }})
  summary: More calls of [[ $labels.job ]] {{ .what }} than a month allows, for long.
{{- end }}
{{- end }}
