"""What must hold in the end: pure functions that return what does not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any


def of_writes(writes: Iterable[Any], log: Sequence[Any]) -> list[str]:
    """Each acknowledged write is in the log once, and as it was answered; one in doubt at most once; nothing else is."""
    found: dict[str, list[Any]] = defaultdict(list)
    for entry in log:
        found[entry.key].append(entry)
    problems = []
    for write in writes:
        entries = found.pop(write.key, [])
        if len(entries) > 1 or (write.answer is not None and not entries):
            problems.append(f"write {write.key}, sent {write.sent} times, is in the log {len(entries)} times")
        elif write.answer is None and not write.is_left:
            problems.append(f"write {write.key} was sent {write.sent} times, and never answered")
        elif write.answer is not None and (entries[0].name, entries[0].version) != (
            write.answer["name"],
            write.version,
        ):
            problems.append(f"write {write.key} was answered as {write.answer}, and is in the log as {entries[0]}")
    return problems + [f"nobody asked for {entry}" for entries in found.values() for entry in entries]


def of_log(log: Sequence[Any], first: int) -> list[str]:
    """The positions of a log follow each other, and the versions of each record in it."""
    problems = _contiguous("the log", [entry.position for entry in log], first)
    versions: dict[str, list[int]] = defaultdict(list)
    for entry in log:
        versions[entry.name].append(entry.version)
    return problems + [problem for name, found in versions.items() for problem in _contiguous(name, found, 1)]


def _contiguous(what: str, numbers: Sequence[int], first: int) -> list[str]:
    wanted = range(first, first + len(numbers))
    wrong = [
        f"{what}: {number} where {should} should be"
        for number, should in zip(numbers, wanted, strict=True)
        if number != should
    ]
    return wrong[:1]


def of_records(stored: dict[str, int], log: Iterable[Any]) -> list[str]:
    """Each record is as the last change in the log says."""
    last = {entry.name: entry.version for entry in log}
    names = last.keys() | stored.keys()
    return [
        f"{name} has the version {stored.get(name)}, and the log the version {last.get(name)}"
        for name in names
        if stored.get(name) != last.get(name)
    ]


def of_effects(effects: Sequence[Any], log: Sequence[Any]) -> list[str]:
    """Each event had its effect once, with the record as it was, and those of a record in their order."""
    events = {entry.event: entry for entry in log}
    times = Counter(effect.event_id for effect in effects)
    problems = [f"{entry} had its effect {times[event]} times" for event, entry in events.items() if times[event] != 1]
    problems += [f"there is an effect of {event}, which is in no log" for event in times.keys() - events.keys()]
    last: dict[str, int] = defaultdict(int)
    for effect in effects:
        entry = events.get(effect.event_id)
        if entry is not None and (effect.resource_name, effect.version, effect.digest) != (
            entry.name,
            entry.version,
            entry.digest,
        ):
            problems.append(f"{entry} arrived as {effect}")
        if effect.version <= last[effect.resource_name]:
            problems.append(f"{effect.resource_name}: version {effect.version} after {last[effect.resource_name]}")
        last[effect.resource_name] = effect.version
    return problems


def of_stream(who: str, events: Sequence[str], log: Sequence[Any]) -> list[str]:
    """A subscriber was told of all changes, in the order of the log, each once."""
    wanted = [entry.event for entry in log]
    if list(events) == wanted:
        return []
    at = next(
        (n for n, pair in enumerate(zip(events, wanted, strict=False)) if pair[0] != pair[1]),
        min(len(events), len(wanted)),
    )
    return [f"{who} was told {len(events)} changes of {len(wanted)}; the first difference is at {at}"]
