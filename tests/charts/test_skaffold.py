"""skaffold's files name what is there, and install charts that run the images which they build."""

from __future__ import annotations

import pytest
import yaml

from tests.charts.rendering import ROOT, SERVICES, pods_of

PARTS = {**{name: ROOT / "services" / name for name in SERVICES}, "gateway": ROOT / "gateway"}
INFRA = ROOT / "deploy/helm/dev-infra"


def read(folder):
    return yaml.safe_load((folder / "skaffold.yaml").read_text())


def release_of(folder):
    (release,) = read(folder)["deploy"]["helm"]["releases"]
    return release


def options(folder, release):
    """Return what skaffold has Helm do, the values that it makes of the image left out."""
    for name in release.get("valuesFiles", ()):
        yield f"--values={(folder / name).resolve(strict=True)}"
    for name, value in release.get("setValues", {}).items():
        yield f"--set={name}={str(value).lower() if isinstance(value, bool) else value}"


def test_the_root_requires_all_parts_and_nothing_else():
    required = [(ROOT / each["path"]).resolve() for each in read(ROOT)["requires"]]
    assert sorted(required) == sorted([INFRA, *PARTS.values()])
    assert read(ROOT).keys() == {"apiVersion", "kind", "metadata", "requires", "profiles"}


def test_all_are_of_one_version_and_have_a_name_each():
    configs = [read(folder) for folder in (ROOT, INFRA, *PARTS.values())]
    assert len({each["apiVersion"] for each in configs}) == 1
    assert len({each["metadata"]["name"] for each in configs}) == len(configs)


def test_what_others_need_is_installed_where_they_look_for_it():
    spaces = {release_of(folder)["namespace"] for folder in (INFRA, *PARTS.values())}
    assert len(spaces) == 1
    assert release_of(INFRA)["wait"] is True


@pytest.mark.parametrize("name", PARTS)
class TestPart:
    def test_the_image_is_built_from_what_is_there(self, name):
        (artifact,) = read(PARTS[name])["build"]["artifacts"]
        context = (PARTS[name] / artifact["context"]).resolve()
        assert context == ROOT
        assert (context / artifact["docker"]["dockerfile"]).is_file()
        assert artifact["image"] == f"kontor-{name}"

    def test_the_chart_runs_that_image(self, charts, name):
        release = release_of(PARTS[name])
        assert (PARTS[name] / release["chartPath"]).resolve() == ROOT / "deploy/helm" / name
        # As with the registry example.com/dev; without one the first is empty.
        image = ["--set=global.image.registry=example.com/dev", "--set=global.image.tag=abc"]
        objects = charts.template(name, *options(PARTS[name], release), *image)
        pods = list(pods_of(each for each in yaml.safe_load_all(objects) if each))
        assert pods
        images = {container["image"] for _, _, spec in pods for container in spec["containers"]}
        assert images == {f"example.com/dev/kontor-{name}:abc"}
        underscored = name.replace("-", "_")
        templates = release["setValueTemplates"]
        assert templates.keys() == {"global.image.registry", "global.image.tag"}
        assert all(f"_kontor_{underscored}" in template for template in templates.values())

    def test_a_debugger_has_time(self, charts, name):
        profiles = [each for each in read(PARTS[name]).get("profiles", ()) if each["name"] == "debug"]
        assert bool(profiles) is (name in SERVICES)
        for profile in profiles:
            release = release_of(PARTS[name])
            release["valuesFiles"] += [patch["value"] for patch in profile["patches"]]
            assert "KONTOR_DEFAULT_DEADLINE_SECONDS" in charts.template(name, *options(PARTS[name], release))
