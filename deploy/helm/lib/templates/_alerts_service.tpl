{{- /* The alerts of a service, beside those of its calls, and of the gateway: what is wrong and since when, for whom. */ -}}

{{- define "kontor.alerts.service" -}}
{{- $of := include "kontor.target" . -}}
- alert: KontorDown
  severity: page
  for: 2m
  expr: >-
    max by (namespace, job, role) (up{ {{- $of }},role=~"serve|work|receive"}) == 0
    or absent(up{ {{- $of }},role="serve"}) or absent(up{ {{- $of }},role="work"})
  summary: No process of [[ $labels.job ]] answers in the role [[ $labels.role ]].
- alert: KontorTargetDown
  severity: ticket
  for: 10m
  expr: up{ {{- $of -}} } == 0
  summary: One process of [[ $labels.job ]] does not answer, [[ $labels.instance ]].
- alert: KontorUnhealthy
  severity: page
  for: 5m
  expr: kontor_health{ {{- $of }},check!="schema"} == 0
  summary: '[[ $labels.instance ]] of [[ $labels.job ]] cannot do without what fails: [[ $labels.check ]].'
- alert: KontorMigrationsMissing
  severity: page
  for: 5m
  expr: kontor_health{ {{- $of }},check="schema"} == 0
  summary: The database of [[ $labels.job ]] lacks tables or columns that this version needs.
- alert: KontorThreadsExhausted
  severity: ticket
  for: 5m
  expr: avg_over_time(kontor_rpc_waiting{ {{- $of -}} }[5m]) > 1
  summary: Calls wait for a thread in [[ $labels.instance ]] of [[ $labels.job ]].
- alert: KontorPoolExhausted
  severity: ticket
  for: 5m
  expr: avg_over_time(kontor_pool_waiting{ {{- $of -}} }[5m]) > 1
  summary: Work waits for a connection to the database in [[ $labels.instance ]] of [[ $labels.job ]].
- alert: KontorSubscribersRefused
  severity: ticket
  for: 0m
  expr: >-
    sum by (namespace, job) (increase(kontor_rpc_stream_seconds_count{ {{- $of }},code="RESOURCE_EXHAUSTED"}[15m])) > 0
  summary: '[[ $labels.job ]] refuses subscribers, because it has as many as it takes.'
- alert: KontorPeerFails
  severity: ticket
  for: 10m
  expr: >-
    sum by (namespace, job, rpc_service)
    (rate(kontor_client_seconds_count{ {{- $of }},code=~"UNAVAILABLE|DEADLINE_EXCEEDED"}[5m]))
    / sum by (namespace, job, rpc_service) (rate(kontor_client_seconds_count{ {{- $of -}} }[5m])) > 0.1
  summary: More than a tenth of the calls of [[ $labels.job ]] to [[ $labels.rpc_service ]] are not answered.
- alert: KontorChangeLogLag
  severity: page
  for: 2m
  expr: max by (namespace, job) (kontor_change_log_lag_seconds{ {{- $of -}} }) > 30
  summary: Nobody moves the changes of [[ $labels.job ]] into its log, the oldest waits for [[ $value | humanizeDuration ]].
- alert: KontorRelayLag
  severity: page
  for: 2m
  expr: max by (namespace, job) (kontor_relay_lag_seconds{ {{- $of -}} }) > 60
  summary: The changes of [[ $labels.job ]] do not reach the broker, the oldest waits for [[ $value | humanizeDuration ]].
- alert: KontorReceiverDisconnected
  severity: page
  for: 5m
  expr: max by (namespace, job) (kontor_amqp_connected{ {{- $of -}} }) == 0
  summary: No receiver of [[ $labels.job ]] reaches the broker.
- alert: KontorMessagesRejected
  severity: ticket
  for: 0m
  expr: sum by (namespace, job) (increase(kontor_amqp_received_total{ {{- $of }},outcome="rejected"}[1h])) > 0
  summary: '[[ $labels.job ]] put messages aside that it cannot read.'
- alert: KontorSourceSilent
  severity: ticket
  for: 5m
  expr: max by (namespace, job, source) (kontor_source_silent_seconds{ {{- $of -}} }) > 900
  summary: '[[ $labels.job ]] hears nothing of [[ $labels.source ]], for [[ $value | humanizeDuration ]].'
- alert: KontorInboxOld
  severity: ticket
  for: 5m
  expr: max by (namespace, job) (kontor_inbox_oldest_seconds{ {{- $of -}} }) > 600
  summary: '[[ $labels.job ]] does not keep up with what others tell, the oldest event waits for [[ $value | humanizeDuration ]].'
- alert: KontorInboxDead
  severity: ticket
  for: 0m
  expr: max by (namespace, job) (kontor_inbox_dead{ {{- $of -}} }) > 0
  summary: '[[ $labels.job ]] gave up [[ $value ]] events.'
- alert: KontorOperationsStuck
  severity: ticket
  for: 0m
  expr: max by (namespace, job) (kontor_operations_stuck{ {{- $of -}} }) > 0
  summary: '[[ $value ]] operations of [[ $labels.job ]] can neither go on nor back.'
- alert: KontorOperationsLate
  severity: ticket
  for: 5m
  expr: max by (namespace, job) (kontor_operations_oldest_seconds{ {{- $of -}} }) > 300
  summary: Nobody works on the operations of [[ $labels.job ]], the oldest is due for [[ $value | humanizeDuration ]].
- alert: KontorJobOverdue
  severity: ticket
  for: 5m
  expr: max by (namespace, job, task) (kontor_job_overdue_seconds{ {{- $of -}} }) > 900
  summary: Nobody takes the turn of [[ $labels.task ]] in [[ $labels.job ]].
- alert: KontorJobFails
  severity: ticket
  for: 0m
  expr: sum by (namespace, job, task) (increase(kontor_job_turns_total{ {{- $of }},outcome="failed"}[1h])) > 2
  summary: '[[ $labels.task ]] of [[ $labels.job ]] fails again and again.'
- alert: KontorDueLate
  severity: ticket
  for: 15m
  expr: max by (namespace, job, task) (kontor_due_late{ {{- $of -}} }) == 1
  summary: A record of [[ $labels.job ]] is due for over an hour and not dealt with, by [[ $labels.task ]].
{{- end }}

{{- define "kontor.alerts.gateway" -}}
{{- $of := include "kontor.target" . -}}
- alert: KontorDown
  severity: page
  for: 2m
  expr: max by (namespace, job) (up{ {{- $of -}} }) == 0 or absent(up{ {{- $of -}} })
  summary: No gateway answers.
- alert: KontorTargetDown
  severity: ticket
  for: 10m
  expr: up{ {{- $of -}} } == 0
  summary: One gateway does not answer, [[ $labels.instance ]].
- alert: KontorUpstreamMissing
  severity: page
  for: 2m
  expr: max by (namespace, job, envoy_cluster_name) (envoy_cluster_membership_healthy{ {{- $of -}} }) == 0
  summary: The gateway reaches no replica of [[ $labels.envoy_cluster_name ]] that is well.
{{- end }}
