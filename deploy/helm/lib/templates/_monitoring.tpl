{{- /* What Prometheus asks, when it alarms, and what Grafana shows. */ -}}

{{- define "kontor.monitoring" -}}
{{- $monitoring := .Values.global.monitoring -}}
{{- if $monitoring.enabled }}
apiVersion: v1
kind: Service
metadata:
  {{- include "kontor.metadata" (list . "metrics") | nindent 2 }}
spec:
  clusterIP: None
  # What does not serve is what one wants to know of.
  publishNotReadyAddresses: true
  selector:
    {{- include "kontor.selector" (list . "") | nindent 4 }}
  ports:
    - name: metrics
      port: 9090
      targetPort: metrics
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "kontor.metadata" (list . "") | nindent 2 }}
    {{- with $monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      {{- include "kontor.selector" (list . "metrics") | nindent 6 }}
  endpoints:
    - port: metrics
      path: {{ (include "kontor.facts" . | fromYaml).metrics | default "/metrics" }}
      interval: {{ $monitoring.interval }}
      relabelings:
        - sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component]
          targetLabel: role
{{- end }}
{{- end }}

{{- define "kontor.rules" -}}
{{- $monitoring := .Values.global.monitoring -}}
{{- if $monitoring.enabled }}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- include "kontor.metadata" (list . "") | nindent 2 }}
    {{- with $monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  groups:
    {{- include "kontor.alerts" . | nindent 4 }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "kontor.metadata" (list . "dashboard") | nindent 2 }}
    {{- with $monitoring.dashboardLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
data:
  {{ include "kontor.name" . }}.json: |
    {{- include "kontor.dashboard" . | nindent 4 }}
{{- end }}
{{- end }}
