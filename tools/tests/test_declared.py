"""Imports that nothing declares are found."""

import pytest

from tools.declared import undeclared

PROVIDERS = {"yaml": ["PyYAML"], "google": ["protobuf", "googleapis-common-protos"]}


class TestUndeclared:
    def test_import_is_found_when_nothing_declared_provides_it(self):
        assert undeclared(["import os, yaml.nodes"], ["protobuf>=7"], PROVIDERS) == ["yaml"]

    def test_import_inside_of_a_function_counts(self):
        assert undeclared(["def read():\n    from yaml import load"], [], PROVIDERS) == ["yaml"]

    @pytest.mark.parametrize("requirement", ["pyyaml>=6", "PyYAML[extra]"])
    def test_nothing_is_found_when_the_import_is_declared(self, requirement):
        assert undeclared(["import yaml"], [requirement], PROVIDERS) == []

    def test_one_of_several_providers_is_enough(self):
        assert undeclared(["from google.protobuf import message"], ["protobuf"], PROVIDERS) == []
