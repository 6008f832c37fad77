"""Path templates of `google.api.http`: what they match and which fields they fill."""

from __future__ import annotations

import re
from typing import NamedTuple

_PIECE = re.compile(
    r"\{(?P<path>[a-z0-9_.]+)(?:=(?P<pattern>[^}]+))?\}|(?P<literal>[^{}/:]+)|(?P<slash>/)|(?P<colon>:)"
)


class Variable(NamedTuple):
    """A field that the path fills: segments `start` to `end` (exclusive) of the template."""

    path: str
    start: int
    end: int


class Template(NamedTuple):
    """A parsed template."""

    text: str
    segments: tuple[str, ...]
    """Literals, `*` (one segment) and `**` (the rest)."""
    variables: tuple[Variable, ...]
    verb: str
    """What follows the colon, "" for none."""

    @property
    def is_literal(self) -> bool:
        """Whether the template matches one path only."""
        return not any(segment.startswith("*") for segment in self.segments)

    @property
    def path(self) -> str:
        """The template with `*` in place of variables; the path itself where it is literal."""
        return "/" + "/".join(self.segments) + (f":{self.verb}" if self.verb else "")

    @property
    def regex(self) -> str:
        """A regular expression (RE2) that matches the paths of the template, whole."""
        wild = {"*": "[^/]+", "**": ".+"}
        segments = "/".join(wild.get(segment) or re.escape(segment) for segment in self.segments)
        return "/" + segments + (f":{re.escape(self.verb)}" if self.verb else "")

    @property
    def lua_pattern(self) -> str:
        """A Lua pattern that captures the values of the variables."""
        wild = {"*": "[^/]+", "**": ".+"}
        pieces = [wild.get(segment) or re.sub(r"(\W)", r"%\1", segment) for segment in self.segments]
        for variable in self.variables:
            pieces[variable.start] = "(" + pieces[variable.start]
            pieces[variable.end - 1] += ")"
        return "^/" + "/".join(pieces) + (f":{self.verb}" if self.verb else "") + "$"

    @property
    def prefix(self) -> str:
        """The literal start of the paths: version and collection at most, `/v1/accounts`."""
        literals: list[str] = []
        for segment in self.segments[:2]:
            if segment.startswith("*"):
                break
            literals.append(segment)
        return "/" + "/".join(literals)


def parse(text: str) -> Template:
    """Parse a template such as `/v1/{name=accounts/*}:undelete`; ValueError where it is malformed."""
    segments: list[str] = []
    variables: list[Variable] = []
    verb, after_colon, at = "", False, 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None or (after_colon and piece["literal"] is None):
            raise ValueError(f"malformed path template: {text}")
        at = piece.end()
        if piece["colon"]:
            after_colon = True
        elif after_colon:
            verb += piece["literal"]
        elif piece["path"]:
            pattern = (piece["pattern"] or "*").split("/")
            variables.append(Variable(piece["path"], len(segments), len(segments) + len(pattern)))
            segments += pattern
        elif piece["literal"]:
            segments.append(piece["literal"])
    return Template(text, tuple(segments), tuple(variables), verb)
