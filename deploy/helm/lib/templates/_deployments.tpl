{{- /* A Deployment for each role, what scales it and what keeps enough of it running. */ -}}

{{- define "kontor.roles" -}}
{{- $root := . -}}
{{- range (include "kontor.facts" . | fromYaml).roles }}
{{- if or (ne . "receive") (eq $root.Values.global.transport "amqp") }}
- {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kontor.deployments" -}}
{{- $root := . -}}
{{- if not .Values.global.issuer }}{{ fail "global.issuer: say where people and clients reach the gateway, https://crm.example.com" }}{{ end -}}
{{- range include "kontor.roles" . | fromYamlArray }}
---
{{ include "kontor.deployment" (list $root .) }}
{{- end }}
{{- end }}

{{- define "kontor.deployment" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $values := index $root.Values $role -}}
{{- $volumes := include "kontor.allVolumes" . | fromYaml -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "kontor.metadata" . | nindent 2 }}
spec:
  {{- if not (dig "autoscaling" "enabled" false $values) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "kontor.selector" . | nindent 6 }}
  strategy:
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      {{- include "kontor.podMetadata" (list $root $role (include "kontor.callees" . | fromYamlArray)) | nindent 6 }}
    spec:
      {{- include "kontor.podSpec" . | trim | nindent 6 }}
      # SIGTERM drains: health says NOT_SERVING, then running calls are ended; nothing is left for a preStop hook to do.
      terminationGracePeriodSeconds: {{ add (ceil $root.Values.drain.delaySeconds) (ceil $root.Values.drain.seconds) 15 }}
      containers:
        - name: {{ $role }}
          args: [{{ $role }}]
          {{- include "kontor.container" (list $root $values.resources) | nindent 10 }}
          env:
            {{- include "kontor.env" . | trim | nindent 12 }}
          ports:
            {{- if ne $role "receive" }}
            - name: grpc
              containerPort: 50051
            {{- end }}
            {{- if and (eq $root.Chart.Name "identity") (eq $role "serve") }}
            - name: http
              containerPort: 8081
            {{- end }}
            - name: metrics
              containerPort: 9090
          {{- include "kontor.probes" . | nindent 10 }}
          volumeMounts:
            {{- include "kontor.mounts" $volumes | trim | nindent 12 }}
      volumes:
        {{- include "kontor.volumes" $volumes | trim | nindent 8 }}
{{- end }}

{{- /* Kubernetes asks for gRPC health in plain text only: with TLS, and where no gRPC is served, the same is asked over HTTP.
That the process lives is asked over HTTP always: it must not be killed because all threads are busy or the database is away. */ -}}
{{- define "kontor.probes" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $grpc := and (ne $role "receive") (not $root.Values.global.tls.enabled) -}}
{{- $health := ternary (dict "grpc" (dict "port" 50051)) (dict "httpGet" (dict "path" "/healthz" "port" "metrics")) $grpc -}}
{{- $life := dict "httpGet" (dict "path" "/livez" "port" "metrics") -}}
startupProbe:
  {{- toYaml $life | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  {{- toYaml $life | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  {{- toYaml $health | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{- define "kontor.scaling" -}}
{{- $root := . -}}
{{- range include "kontor.roles" . | fromYamlArray }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "kontor.metadata" (list $root .) | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "kontor.selector" (list $root .) | nindent 6 }}
{{- if dig "autoscaling" "enabled" false (index $root.Values .) }}
---
{{ include "kontor.autoscaler" (list $root .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kontor.autoscaler" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $scale := (index $root.Values $role).autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "kontor.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "kontor.name" $root }}-{{ $role }}
  minReplicas: {{ $scale.minReplicas }}
  maxReplicas: {{ $scale.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ $scale.cpu }}
    {{- with $scale.inboxSeconds }}
    - type: External
      external:
        metric:
          name: kontor_inbox_oldest_seconds
          selector:
            matchLabels:
              job: {{ $root.Chart.Name }}
        target:
          type: Value
          value: {{ . | quote }}
    {{- end }}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
{{- end }}
