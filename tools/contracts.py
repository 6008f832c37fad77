"""Contract types for import-linter that it does not bring: who may import what, said as what is allowed."""

from __future__ import annotations

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.helpers import module_expressions_to_modules


class _DirectImports(Contract):
    """Base of contracts that look at each direct import on its own."""

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each forbidden import."""
        for importer, imported, line in check.metadata["found"]:
            output.print_error(f"- {importer} -> {imported} (l. {line})", bold=False)

    @staticmethod
    def _verdict(graph: ImportGraph, found: list[tuple[str, str]]) -> ContractCheck:
        lines = [
            (importer, imported, graph.get_import_details(importer=importer, imported=imported)[0]["line_number"])
            for importer, imported in sorted(found)
        ]
        return ContractCheck(kept=not lines, metadata={"found": lines})


class OnlyContract(_DirectImports):
    """The modules import each other, the standard library and what is listed (with all below it), and nothing else."""

    modules = fields.ListField(subfield=fields.ModuleExpressionField())
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the imports that are not listed."""
        modules = {module.name for module in module_expressions_to_modules(graph, self.modules)}
        found = [
            (module, imported)
            for module in modules
            for imported in graph.find_modules_directly_imported_by(module) - modules
            if imported not in sys.stdlib_module_names and not self._allows(imported)
        ]
        return self._verdict(graph, found)

    def _allows(self, imported: str) -> bool:
        return any(f"{imported}.".startswith(f"{name}.") for name in self.allowed)


class SlicesContract(_DirectImports):
    """A service is cut into slices: its sub-packages, one for each resource.

    What lies outside of a slice sees only the slice's `shared` modules. The composition `root` alone sees everything.
    """

    services = fields.ListField(subfield=fields.ModuleField())
    root = fields.StringField()
    shared = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the imports that reach into a slice from outside of it."""
        found = []
        for service in self.services:
            for inside in graph.find_children(service.name):
                below = graph.find_descendants(inside)
                visible = {f"{inside}.{name}" for name in self.shared}
                outside = graph.find_descendants(service.name) - below - {inside, f"{service.name}.{self.root}"}
                found += [
                    (importer, imported)
                    for imported in below - visible
                    for importer in graph.find_modules_that_directly_import(imported) & outside
                ]
        return self._verdict(graph, found)
