"""What runs is held to the restricted Pod Security Standard, bounded, asked how it is, and ended in good order."""

from __future__ import annotations

import re

import pytest

from tests.charts.rendering import CASES, ORDER, PLATFORM, pods_of

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
"""What the restricted standard lets be mounted."""


@pytest.fixture(scope="module", params=ORDER)
def cases(request, charts):
    """The objects of each case of a chart."""
    return [charts.rendered(case) for case in CASES if case[0] == request.param]


@pytest.fixture(scope="module")
def objects(cases):
    return [each for case in cases for each in case]


@pytest.fixture(scope="module")
def pods(objects):
    return list(pods_of(objects))


def containers_of(pods):
    return [
        (name, spec, each) for name, _, spec in pods for each in (*spec.get("initContainers", ()), *spec["containers"])
    ]


class TestPodSecurity:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, restricted; and a root that cannot be written."""

    def test_pods_are_restricted(self, pods):
        for name, _, spec in pods:
            context = spec["securityContext"]
            assert context["runAsNonRoot"] is True, name
            assert context["runAsUser"] > 0, name
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
            assert all(set(volume) - {"name"} <= VOLUMES for volume in spec.get("volumes", ())), name

    def test_containers_are_restricted(self, pods):
        for name, _, container in containers_of(pods):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert not {"privileged", "procMount", "runAsUser", "seccompProfile"} & context.keys(), name
            assert all("hostPort" not in port for port in container.get("ports", ())), name

    def test_nobody_has_a_token_of_kubernetes(self, objects, pods):
        assert all(spec["automountServiceAccountToken"] is False for _, _, spec in pods)
        accounts = [each for each in objects if each["kind"] == "ServiceAccount"]
        assert all(each["automountServiceAccountToken"] is False for each in accounts)


class TestContainers:
    def test_images_have_a_version(self, pods):
        for name, _, container in containers_of(pods):
            assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", container["image"]), name

    def test_what_they_use_is_bounded(self, pods):
        for name, _, container in containers_of(pods):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name
        for name, _, spec in pods:
            empty = [volume["emptyDir"] for volume in spec.get("volumes", ()) if "emptyDir" in volume]
            assert all("sizeLimit" in each for each in empty), name

    def test_secrets_are_files(self, pods):
        """What is in the environment is seen by whoever may look at the pod, and by every child process."""
        for name, _, container in containers_of(pods):
            assert "envFrom" not in container, name
            assert all("valueFrom" not in each for each in container.get("env", ())), name

    @pytest.mark.parametrize("cases", PLATFORM, indirect=True)
    def test_every_file_is_mounted(self, pods):
        for name, spec, container in containers_of(pods):
            volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container.get("volumeMounts", ())}
            words = [each.get("value", "") for each in container.get("env", ())] + container.get("args", [])
            for path in {path for word in words for path in re.findall(r"/run/[\w./-]+", word)}:
                folder = next((mount for mount in mounts if path.startswith(f"{mount}/")), None)
                assert folder, f"{name}: {path}"
                assert path.removeprefix(f"{folder}/") in files_of(mounts[folder]), f"{name}: {path}"


def files_of(volume):
    """Return the files of a volume; of a Secret for TLS those that cert-manager puts there."""
    if "projected" in volume:
        return {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}
    if "configMap" in volume:
        return {"principals.json"}
    items = volume["secret"].get("items")
    return {item["path"] for item in items} if items else {"tls.crt", "tls.key", "ca.crt"}


@pytest.mark.parametrize("cases", PLATFORM, indirect=True)
class TestLife:
    def test_what_goes_on_is_asked_how_it_is(self, objects):
        for name, labels, spec in pods_of(each for each in objects if each["kind"] != "Job"):
            for container in spec["containers"]:
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys(), (name, labels)

    def test_grpc_is_asked_in_plain_text_only(self, objects):
        """Kubernetes cannot speak TLS in a gRPC probe."""
        for name, _, spec in pods_of(objects):
            for container in spec["containers"]:
                in_tls = any(each["name"] == "KONTOR_TLS_CERTIFICATE_FILE" for each in container.get("env", ()))
                serves = {port["name"] for port in container.get("ports", ())} >= {"grpc"}
                if serves:
                    assert ("grpc" in container["readinessProbe"]) is not in_tls, name
                assert "grpc" not in container.get("livenessProbe", {}), name

    def test_there_is_time_to_drain(self, objects):
        for name, _, spec in pods_of(each for each in objects if each["kind"] == "Deployment"):
            for container in spec["containers"]:
                env = {each["name"]: each.get("value") for each in container.get("env", ())}
                needed = [float(env.get(f"KONTOR_DRAIN_{part}SECONDS", 0)) for part in ("", "DELAY_")]
                hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [""])
                needed.append(float((re.findall(r"--seconds=(\d+)", hook[-1]) or [0])[0]))
                assert 0 < sum(needed) < spec["terminationGracePeriodSeconds"], name

    def test_deployments_go_on_while_pods_are_replaced(self, cases):
        for objects in cases:
            selectors = [each["spec"]["selector"] for each in objects if each["kind"] == "PodDisruptionBudget"]
            for each in (each for each in objects if each["kind"] == "Deployment"):
                assert each["spec"]["selector"] in selectors
                assert each["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
                assert each["spec"]["template"]["spec"]["topologySpreadConstraints"]

    def test_who_scales_counts_the_pods(self, cases):
        for objects in cases:
            scalers = [each["spec"] for each in objects if each["kind"] == "HorizontalPodAutoscaler"]
            scaled = {each["scaleTargetRef"]["name"] for each in scalers}
            for each in (each for each in objects if each["kind"] == "Deployment"):
                assert ("replicas" in each["spec"]) is (each["metadata"]["name"] not in scaled)
                assert each["spec"].get("replicas", 2) >= 2

    def test_jobs_end(self, objects):
        for each in objects:
            if each["kind"] == "Job":
                assert each["spec"]["activeDeadlineSeconds"] > 0
                assert each["spec"]["template"]["spec"]["restartPolicy"] == "Never"
                assert "helm.sh/hook" in each["metadata"]["annotations"]
                # Before the installation there is no service account yet.
                assert "serviceAccountName" not in each["spec"]["template"]["spec"]
