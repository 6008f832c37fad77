"""The figures of the bench: how they are summed up, not what they are."""

import pytest

from tests.load.report import EventRow, Row, ServiceRow, event_line, line, ratio_documents, ratios, service_line


def row(path, rate, operation="get", cpu=1.0, **changes):
    result = {"seconds": [0.001 * n for n in range(1, 101)], "elapsed": 100 / rate, "errors": {}, "bytes": 5000}
    return Row.of(operation, path, 8, result | changes, {"service": cpu}, {"service": 70_000_000})


class TestRow:
    def test_figures_are_of_one_request_when_summed_up(self):
        made = row("gRPC", 500.0, cpu=0.2)
        assert (made.rate, made.bytes, made.cpu["service"], made.memory["service"]) == (500.0, 50.0, 2.0, 70.0)
        assert (made.p50, made.p95, made.p99) == pytest.approx((51.0, 96.0, 100.0))

    def test_figures_are_zero_when_nothing_was_answered(self):
        made = row("gRPC", 1.0, seconds=[], bytes=0, errors={"UNAVAILABLE": 3})
        assert (made.rate, made.p99) == (0.0, 0.0)
        assert " 3 " in line(made, None)


class TestRatios:
    def test_the_service_is_compared_with_both_yardsticks(self):
        [found] = ratio_documents([row("bare", 1000.0), row("bare, piped", 2000.0), row("gRPC", 500.0, cpu=3.0)])
        assert (found["to_bare"], found["to_piped"], found["cpu_to_bare"]) == (0.5, 0.25, 3.0)

    def test_what_falls_short_is_named(self):
        rows = [row("bare", 1000.0), row("bare, piped", 1000.0)]
        assert ratios([*rows, row("gRPC", 499.0)]).endswith("below it: get x8")
        assert ratios([*rows, row("gRPC", 501.0)]).endswith("all above it")

    def test_other_operations_are_promised_nothing(self):
        rows = [
            row(path, rate, "update one field") for path, rate in (("bare", 9.0), ("bare, piped", 9.0), ("gRPC", 1.0))
        ]
        assert ratios(rows).endswith("all above it")


class TestServices:
    def test_a_line_says_how_many_times_as_long_as_bare_it_takes(self):
        made = service_line(ServiceRow("board", 8, 20.0, 40.0, 31.0, 1234.5))
        assert made.split() == ["board", "8", "20.0", "40.0", "31.0", "1,234.5", "1.6"]


class TestEvents:
    def test_a_line_says_what_was_offered_and_what_came_of_it(self):
        assert event_line(EventRow("stream", 500, 499.6, 31.04, 120.5, 0)).split() == [
            *("stream", "500", "500", "31.0", "120.5", "0")
        ]
        assert event_line(EventRow("amqp", 0, 1234.5, 2000.0, 3000.0, 7)).split() == [
            *("amqp", "highest", "1,234", "2,000.0", "3,000.0", "7")
        ]
