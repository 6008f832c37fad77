"""The figures of a bench as rows of a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

PARTS = ("service", "envoy", "postgres", "generator")
PROMISED = ("get", "create", "list 50 by name")
PROMISED_RATIO = 0.5
_FORMAT = "{:<24}{:<13}{:>7}{:>9}{:>8}{:>8}{:>8}{:>7}  {:>6} {:>6} {:>6} {:>6}  {:>5} {:>5} {:>5}{:>8}{:>11}"
_SERVICE_FORMAT = "{:<24}{:>7}{:>13}{:>13}{:>13}{:>13}{:>8}"
_EVENT_FORMAT = "{:<13}{:>11}{:>11}{:>11}{:>11}{:>9}"


@dataclass(frozen=True)
class Row:
    """One operation on one path with so many callers."""

    operation: str
    path: str
    callers: int
    rate: float
    """Answers a second."""
    p50: float
    """Milliseconds, as the others."""
    p95: float
    p99: float
    errors: dict[str, int]
    bytes: float
    """Of an answer, on average."""
    cpu: dict[str, float]
    """Milliseconds of a request, by part."""
    memory: dict[str, float]
    """Megabytes, by part."""

    @classmethod
    def of(
        cls,
        operation: str,
        path: str,
        callers: int,
        result: dict[str, Any],
        worked: dict[str, float],
        memory: dict[str, int],
    ) -> Row:
        """Make a row of what the generator and the system tell."""
        seconds: list[float] = result["seconds"]
        count = max(len(seconds), 1)
        return cls(
            operation=operation,
            path=path,
            callers=callers,
            rate=len(seconds) / result["elapsed"],
            p50=percentile(seconds, 0.50),
            p95=percentile(seconds, 0.95),
            p99=percentile(seconds, 0.99),
            errors=result["errors"],
            bytes=result["bytes"] / count,
            cpu={part: spent * 1000 / count for part, spent in worked.items()},
            memory={part: used / 1e6 for part, used in memory.items()},
        )

    def document(self) -> dict[str, Any]:
        """Return what JSON takes."""
        return asdict(self)


@dataclass(frozen=True)
class EventRow:
    """What was found over one transport; milliseconds."""

    transport: str
    offered: int
    """Events a second; 0 where as many were offered as were handled."""
    rate: float
    """Events a second that were handled."""
    p50: float
    p99: float
    missing: int
    """Events that did not arrive in time."""

    def document(self) -> dict[str, Any]:
        """Return what JSON takes."""
        return asdict(self)


@dataclass(frozen=True)
class ServiceRow:
    """How long an answer takes, of bare SQL and of the service; milliseconds."""

    title: str
    callers: int
    bare_p50: float
    bare_p99: float
    p50: float
    p99: float

    def document(self) -> dict[str, Any]:
        """Return what JSON takes."""
        return asdict(self)


def head() -> str:
    """Return the head of the table."""
    cpu = "cpu ms: service, Envoy, PG, load"
    top = f"{'':<24}{'':<13}{'':>7}{'':>9}{'':>8}{'':>8}{'':>8}{'':>7}  {cpu:<27} MB: service, Envoy, PG"
    names = ("operation", "path", "callers", "req/s", "p50 ms", "p95 ms", "p99 ms", "errors")
    parts = ("serv", "Envoy", "PG", "load", "serv", "Envoy", "PG")
    return top + "\n" + _FORMAT.format(*names, *parts, "ratio", "cpu ratio")


def line(row: Row, bare: Row | None) -> str:
    """Return a line of the table; `bare` is the row that it is compared with."""
    ratio = f"{row.rate / bare.rate:.2f}" if bare and bare.rate else ""
    cpu_ratio = f"{row.cpu['service'] / bare.cpu['service']:.2f}" if bare and bare.cpu["service"] else ""
    return _FORMAT.format(
        row.operation,
        row.path,
        row.callers,
        f"{row.rate:,.0f}",
        f"{row.p50:.2f}",
        f"{row.p95:.2f}",
        f"{row.p99:.2f}",
        sum(row.errors.values()),
        *(f"{row.cpu[part]:.2f}" if part in row.cpu else "" for part in PARTS),
        *(f"{row.memory[part]:.0f}" if part in row.memory else "" for part in PARTS[:3]),
        ratio,
        cpu_ratio,
    )


def ratio_documents(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return how the service, called directly, compares with both yardsticks: by rate, and by processor time."""
    known = {(row.operation, row.callers, row.path): row for row in rows}
    found = []
    for row in rows:
        bare, piped = (known.get((row.operation, row.callers, path)) for path in ("bare", "bare, piped"))
        if row.path == "gRPC" and bare and piped:
            found.append(
                {
                    "operation": row.operation,
                    "callers": row.callers,
                    "to_bare": _share(row.rate, bare.rate),
                    "to_piped": _share(row.rate, piped.rate),
                    "cpu_to_bare": _share(row.cpu["service"], bare.cpu["service"]),
                }
            )
    return found


def ratios(rows: Sequence[Row]) -> str:
    """Return the ratios as text, with a word on those of get, list and create that fall short."""
    documents = ratio_documents(rows)
    lines = ["", "The service, called directly, in req/s to bare / to bare, piped (in processor time to bare):"]
    for operation in dict.fromkeys(found["operation"] for found in documents):
        figures = (
            f"{found['callers']:>3} callers {found['to_bare']:.2f} / {found['to_piped']:.2f} ({found['cpu_to_bare']:.2f})"
            for found in documents
            if found["operation"] == operation
        )
        lines.append(f"  {operation:<24}{'    '.join(figures)}")
    promised = [found for found in documents if found["operation"] in PROMISED]
    short = [f"{found['operation']} x{found['callers']}" for found in promised if found["to_bare"] < PROMISED_RATIO]
    verdict = f"below it: {', '.join(short)}" if short else "all above it"
    lines.append(f"get, create and list are to reach {PROMISED_RATIO} of bare: {verdict}")
    return "\n".join(lines)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the ordered seconds lie, in milliseconds."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else 0.0


def service_head() -> str:
    """Return the head of the table of answers that are made of many rows."""
    top = "answers of one service, against the bare SQL of the same answer"
    names = ("callers", "bare p50 ms", "bare p99 ms", "p50 ms", "p99 ms", "times")
    return top + "\n" + _SERVICE_FORMAT.format("answer", *names)


def service_line(row: ServiceRow) -> str:
    """Return a line of that table; the last figure is how many times as long as bare SQL the median takes."""
    figures = (f"{figure:,.1f}" for figure in (row.bare_p50, row.bare_p99, row.p50, row.p99))
    times = f"{row.p50 / row.bare_p50:.1f}" if row.bare_p50 else ""
    return _SERVICE_FORMAT.format(row.title, row.callers, *figures, times)


def event_head() -> str:
    """Return the head of the table of events."""
    top = "events, from the commit of a change in one service until another has handled it"
    return top + "\n" + _EVENT_FORMAT.format("transport", "offered/s", "handled/s", "p50 ms", "p99 ms", "missing")


def event_line(row: EventRow) -> str:
    """Return a line of the table of events."""
    offered = f"{row.offered:,}" if row.offered else "highest"
    return _EVENT_FORMAT.format(
        row.transport, offered, f"{row.rate:,.0f}", f"{row.p50:,.1f}", f"{row.p99:,.1f}", row.missing
    )
