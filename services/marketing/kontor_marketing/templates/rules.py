"""What a template may say, and what it says to somebody: Jinja, cut down to what ends soon and stays small.

Nothing but output and `if`: no loop, no arithmetic, no assignment, no call. What is left can neither run long nor grow,
so that there is nothing to be measured while it runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kontor_kit import normal_forms
from kontor_kit.errors import Violation

PARTS: Final[Mapping[str, frozenset[str]]] = {
    "party": frozenset(
        ("display_name", "salutation", "honorific", "given_name", "family_name", "email", "language_code", "country")
    ),
    "account": frozenset(("display_name",)),
    "campaign": frozenset(("display_name",)),
}
"""The variables that have parts, with these."""
WORDS: Final = frozenset(("salutation", "unsubscribe_url"))
"""The variables that have none."""
CONTENT: Final = ("subject", "text_body", "html_body")
"""The fields that a mail is made of, in a template and in its variants."""
WRITTEN: Final = (*CONTENT, "variants", "salutations", "salutation_fallback")
"""The fields whose change makes a new revision."""
LONGEST_MAIL: Final = 1 << 20
"""In characters, each of its parts."""
DEEPEST: Final = 50
"""So many parts of a template may lie within each other; Python compiles no more than 100."""

_TOO_DEEP: Final = f"has more than {DEEPEST} parts within each other"
_FILTERS: Final = frozenset(
    ["capitalize", "d", "default", "e", "escape", "lower", "title", "trim", "truncate", "upper"]
)
_TESTS: Final = frozenset(["defined", "undefined", "eq", "equalto", "ne", "in", "none", "string"])
_NODES: Final = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Const,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
    nodes.Filter,
    nodes.Test,
    nodes.Tuple,
    nodes.List,
    nodes.Keyword,
)


class MissingVariable(Exception):
    """Something that the template says is not known; the text is its name, for example `party.given_name`."""


class RenderingFailed(Exception):
    """The template cannot be filled in; the text says why, for people."""


class Mail(NamedTuple):
    """A mail that was filled in."""

    subject: str
    text: str
    html: str
    """Empty where there is none."""


class Part(dict[str, Any]):
    """A variable with parts; `called` is its name. What is empty is not known."""

    def __init__(self, called: str, values: Mapping[str, Any]) -> None:
        super().__init__({name: value for name, value in values.items() if value})
        self.called = called


class _Missing(StrictUndefined):
    """Says which variable it was."""

    @property
    def _undefined_message(self) -> str:
        owner = getattr(self._undefined_obj, "called", "")
        return f"{owner}.{self._undefined_name}" if owner else str(self._undefined_name)


def normalise(template: Any) -> list[Violation]:
    """Bring a template into its normal form, in place, and return what is wrong with it; bodies with their lines."""
    violations: list[Violation] = []
    if not template.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    contents = [("", template), *((f"variants[{index}].", item) for index, item in enumerate(template.variants))]
    used: set[str] = set()
    for prefix, content in contents:
        for field in CONTENT:
            violations += _check(getattr(content, field), f"{prefix}{field}", used)
        if "\n" in content.subject or "\r" in content.subject:
            violations.append(Violation(f"{prefix}subject", "must be one line"))
    languages: set[str] = set()
    for index, variant in enumerate(template.variants):
        path = f"variants[{index}].language_code"
        violations += normal_forms.normalise_field(variant, "language_code", normal_forms.language, path)
        if variant.language_code in languages:
            violations.append(Violation(path, "has a variant already"))
        languages.add(variant.language_code)
    return [*violations, *_check_salutations(template, used)]


def _check_salutations(template: Any, used: set[str]) -> Iterator[Violation]:
    for index, rule in enumerate(template.salutations):
        path = f"salutations[{index}]"
        yield from normal_forms.normalise_field(rule, "language_code", normal_forms.language, f"{path}.language_code")
        greets: set[str] = set()
        yield from _check(rule.text, f"{path}.text", greets)
        if "salutation" in greets:
            yield Violation(f"{path}.text", "must not use `salutation` itself")
    needed: set[str] = set()
    yield from _check(template.salutation_fallback, "salutation_fallback", needed)
    if needed:
        yield Violation("salutation_fallback", "must use no variables: it is for those of whom nothing is known")
    if "salutation" in used and not template.salutation_fallback.strip():
        yield Violation("salutation_fallback", "is required where `salutation` is used")


def bodies(template: Any) -> Iterator[str]:
    """Yield the texts of a template, in all languages; subjects are none."""
    for content in (template, *template.variants):
        yield from filter(None, (content.text_body, content.html_body))


def uses(source: str, variable: str) -> bool:
    """Whether a text that was checked uses a variable."""
    return any(node.name == variable for node in _TEXT.parse(source).find_all(nodes.Name))


def _check(source: str, path: str, used: set[str]) -> Iterator[Violation]:
    """Yield what is wrong with one text; add the variables that it uses to `used`."""
    try:
        tree = _TEXT.parse(source)
    except TemplateSyntaxError as error:
        yield Violation(path, f"line {error.lineno}: {error.message}")
        return
    except RecursionError:
        yield Violation(path, _TOO_DEEP)
        return
    except ValueError as error:
        yield Violation(path, f"has a number that cannot be read: {error}")
        return
    found: list[Violation] = []
    _walk(tree, lambda node, text: found.append(Violation(path, f"line {node.lineno}: {text}")), used)
    yield from found[:10]


def _walk(node: nodes.Node, refuse: Callable[[nodes.Node, str], object], used: set[str], depth: int = 0) -> None:
    """Refuse what is not allowed in a tree, and add the variables in it to `used`."""
    if text := _refusal(node) or (_TOO_DEEP if depth > DEEPEST else ""):
        refuse(node, text)
        return
    if isinstance(node, nodes.Name):
        used.add(node.name)
    if isinstance(node, nodes.Getattr):
        used.update(owner.name for owner in node.find_all(nodes.Name))
        return  # What stands before the point was looked at with it.
    for child in node.iter_child_nodes():
        _walk(child, refuse, used, depth + 1)


def _refusal(node: nodes.Node) -> str:
    """Return why a node is not allowed; empty where it is. What stands below it is looked at by itself."""
    if not isinstance(node, _NODES):
        return f"{type(node).__name__.lower()} is not allowed in templates"
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        return f"there is no filter {node.name}; there are {', '.join(sorted(_FILTERS))}"
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        return f"there is no test {node.name}; there are {', '.join(sorted(_TESTS))}"
    if isinstance(node, nodes.Getattr):
        if not isinstance(node.node, nodes.Name):
            return "only a variable has parts, not what is made of it"
        known = PARTS.get(node.node.name)
        if known is None:
            return f"there is no variable {node.node.name} with parts; there are {', '.join(sorted(PARTS))}"
        return "" if node.attr in known else f"{node.node.name} has no {node.attr}; it has {', '.join(sorted(known))}"
    if isinstance(node, nodes.Name) and node.name not in WORDS:
        return f"there is no variable {node.name} without a part; there are {', '.join(sorted(WORDS))}"
    return ""


def variables_of(party: Any, *, email: str, campaign: str, unsubscribe_url: str) -> dict[str, Any]:
    """Return what a template may say to a party, or to what is known of one, by a campaign of this name."""
    known = {**{name: getattr(party, name) for name in PARTS["party"] - {"email"}}, "email": email}
    account = {"display_name": party.account_display_name}
    return {
        "party": Part("party", known),
        "account": Part("account", account),
        "campaign": Part("campaign", {"display_name": campaign}),
        "unsubscribe_url": unsubscribe_url,
    }


def render(written: Any, variables: Mapping[str, Any], language_code: str) -> Mail:
    """Fill in a revision of a template for somebody who reads a language.

    `variables` is as `variables_of` returns it. Raises MissingVariable and RenderingFailed.
    """
    content = choose(written, language_code)
    known = {**variables, "salutation": greeting(written, variables, language_code)}
    # A header is one line, whatever a name holds.
    subject = "".join(letter if letter.isprintable() else " " for letter in _fill(content.subject, known, html=False))
    html = _fill(content.html_body, known, html=True) if content.html_body else ""
    return Mail(" ".join(subject.split()), _fill(content.text_body, known, html=False), html)


def choose(written: Any, language_code: str) -> Any:
    """Return the variant for a language, else that for the language without its region, else the template itself."""
    by_language = {variant.language_code: variant for variant in written.variants}
    found = by_language.get(language_code)
    return found or by_language.get(language_code.partition("-")[0]) or written


def greeting(written: Any, variables: Mapping[str, Any], language_code: str) -> str:
    """Return the first greeting that fits and can be filled in; that for everybody where there is none."""
    salutation = variables["party"].get("salutation", "")
    for rule in written.salutations:
        fits = rule.language_code in ("", language_code, language_code.partition("-")[0])
        if fits and rule.salutation in ("", salutation):
            try:
                return _fill(rule.text, variables, html=False)
            except MissingVariable:
                continue
    return str(written.salutation_fallback)


def _fill(source: str, variables: Mapping[str, Any], *, html: bool) -> str:
    try:
        parts: list[str] = []
        left = LONGEST_MAIL
        for part in _compiled(source, html).generate(variables):
            left -= len(part)
            if left < 0:
                raise RenderingFailed("the mail is too long")
            parts.append(part)
        return "".join(parts)
    except UndefinedError as error:
        raise MissingVariable(error.message) from error
    except (TemplateError, TypeError, ValueError, AssertionError) as error:  # filters assert what they are given
        raise RenderingFailed(str(error)) from error


@functools.lru_cache(maxsize=256)
def _compiled(source: str, html: bool) -> Template:
    return (_HTML if html else _TEXT).from_string(source)


def _environment(*, html: bool) -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        autoescape=html, undefined=_Missing, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    made.globals.clear()
    return made


_TEXT: Final = _environment(html=False)
_HTML: Final = _environment(html=True)


def is_rewritten(before: Any, after: Any) -> bool:
    """Whether a template says something else than before."""
    return any(getattr(before, field) != getattr(after, field) for field in WRITTEN)
