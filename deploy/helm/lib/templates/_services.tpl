{{- /* How others find a chart's pods, and as whom these run. */ -}}

{{- /* Without an address of its own: clients of gRPC see all pods and take turns, where one connection would keep to one. */ -}}
{{- define "kontor.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "kontor.metadata" (list . "") | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "kontor.selector" (list . "serve") | nindent 4 }}
  ports:
    - name: grpc
      port: 50051
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
    {{- if eq .Chart.Name "identity" }}
    - name: http
      port: 8081
      targetPort: http
    {{- end }}
{{- end }}

{{- define "kontor.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "kontor.metadata" (list . "") | nindent 2 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
