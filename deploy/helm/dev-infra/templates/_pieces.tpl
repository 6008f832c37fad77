{{- /* A Deployment with one pod that forgets everything, and its Service. Takes a dict: name, image, user, env, ports, folders, files. */ -}}
{{- define "dev.piece" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels: &labels
    app.kubernetes.io/name: {{ .name }}
    app.kubernetes.io/part-of: kontor-dev
    app.kubernetes.io/component: {{ .name }}
spec:
  replicas: 1
  strategy:
    type: Recreate
  selector:
    matchLabels: *labels
  template:
    metadata:
      labels: *labels
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        runAsNonRoot: true
        runAsUser: {{ .user }}
        runAsGroup: {{ .user }}
        fsGroup: {{ .user }}
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: {{ .name }}
          image: {{ .image }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          resources:
            requests:
              cpu: 50m
              memory: 128Mi
            limits:
              memory: 1Gi
          {{- with .env }}
          env:
            {{- range $name, $value := . }}
            - name: {{ $name }}
              value: {{ $value | quote }}
            {{- end }}
          {{- end }}
          ports:
            {{- range .ports }}
            - containerPort: {{ . }}
            {{- end }}
          {{- range list "startupProbe" "livenessProbe" "readinessProbe" }}
          {{ . }}:
            tcpSocket:
              port: {{ first $.ports }}
            periodSeconds: 3
            failureThreshold: 40
          {{- end }}
          volumeMounts:
            {{- range $index, $folder := .folders }}
            - name: folder-{{ $index }}
              mountPath: {{ $folder }}
            {{- end }}
            {{- with .files }}
            - name: files
              mountPath: {{ .path }}
            {{- end }}
      volumes:
        {{- range $index, $_ := .folders }}
        - name: folder-{{ $index }}
          emptyDir:
            sizeLimit: 4Gi
        {{- end }}
        {{- with .files }}
        - name: files
          configMap:
            name: {{ .name }}
        {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
spec:
  selector:
    app.kubernetes.io/component: {{ .name }}
  ports:
    {{- range .ports }}
    - name: p{{ . }}
      port: {{ . }}
    {{- end }}
{{- end }}
