"""Lists: pages without gap or repeat, every order, page tokens, totals, search."""

from __future__ import annotations

import random
import threading

import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from kit.tests.widgets import Widget, Widgets
from kontor_kit import store
from kontor_kit.folding import fold
from kontor_kit.resource import Resource

KEYS = {
    "": lambda widget: widget.name,
    "display_name": lambda widget: fold(widget.display_name),
    "size": lambda widget: widget.size,
    "create_time": lambda widget: widget.create_time.ToNanoseconds(),
    "update_time": lambda widget: widget.update_time.ToNanoseconds(),
}
ORDERS = [f"{field}{direction}".strip() for field in KEYS for direction in ("", " desc") if field or not direction]


def test_orders_are_those_of_the_contract():
    assert set(KEYS) - {""} == set(Widgets.RESOURCE.order_columns)


def test_a_column_that_may_be_null_cannot_be_sorted_by():
    table = sa.Table(
        "widgets", sa.MetaData(), *(sa.Column(field.partition(" ")[0], sa.Text) for field in KEYS if field)
    )
    with pytest.raises(ValueError, match="cannot be sorted by display_name, size"):
        _ = Resource(Widget, table).order_columns


def walk(caller, **arguments):
    """Yield the pages of a list."""
    token = ""
    while True:
        answer = caller("ListWidgets", page_token=token, **arguments)
        yield [*answer.widgets]
        token = answer.next_page_token
        if not token:
            return


def fill(caller, number, *, seed=1):
    chosen = random.Random(seed)
    names = ["Äpfel", "apfel", "Zebra", "ähnlich", "B b", "b-b", "Ωmega", "łódź", "1", "10", "2", "_", "%"]
    requests = [
        {"widget": {"display_name": chosen.choice(names), "size": chosen.randrange(4)}, "allow_duplicates": True}
        for _ in range(number)
    ]
    return [*caller("BatchCreateWidgets", requests=requests).widgets]


@pytest.fixture(scope="module")
def filled(server):
    caller = server.caller()
    made = fill(caller, 60)
    for widget in made[::7]:
        caller("UpdateWidget", widget={"name": widget.name, "note": "later"})
    return caller


@pytest.fixture(scope="module")
def named(server):
    caller = server.caller()
    for name in ("Müller Söhne", "Miller", "Schmidt & Co", "Straße 7", "100% Bio", "a_b", "back\\slash", "it's"):
        caller("CreateWidget", widget={"display_name": name, "parts": [{"code": f"part {name[:2]}"}]})
    return caller


class TestPages:
    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("size", [1, 7, 60, 1000])
    def test_walk_the_list_in_order_without_gap_or_repeat(self, filled, order, size):
        pages = [*walk(filled, order_by=order, page_size=size)]
        assert all(len(page) == size for page in pages[:-1])
        assert len(pages) == max(-(-60 // size), 1)
        walked = [widget for page in pages for widget in page]
        assert len({widget.name for widget in walked}) == len(walked) == 60
        field, _, descending = order.partition(" ")
        positions = [(KEYS[field](widget), widget.name) for widget in walked]
        assert positions == sorted(positions, reverse=bool(descending))

    @pytest.mark.parametrize("order", ["", "display_name", "size desc"])
    def test_walk_without_gap_or_repeat_while_others_insert_and_delete(self, server, order):
        caller = server.caller()
        stay = {widget.name for widget in fill(caller, 40)}
        stop = threading.Event()

        def disturb():
            for seed in range(1000):
                new = fill(caller, 2, seed=seed)
                caller("DeleteWidget", name=new[0].name)
                if stop.is_set():
                    return

        other = threading.Thread(target=disturb)
        other.start()
        try:
            for _ in range(3):
                walked = [widget.name for page in walk(caller, order_by=order, page_size=3) for widget in page]
                assert len(walked) == len(set(walked))
                assert stay <= set(walked)
        finally:
            stop.set()
            other.join()

    def test_have_50_records_unless_asked(self, filled):
        assert len(filled("ListWidgets").widgets) == 50
        assert filled.refusal("ListWidgets", page_size=-1).violations.keys() == {"page_size"}

    def test_have_only_what_the_mask_names(self, filled):
        [widget, *_] = filled("ListWidgets", read_mask=FieldMask(paths=["size"]), order_by="size desc").widgets
        assert widget == Widget(size=3)

    @pytest.mark.parametrize("order", ["note", "parts", "display_name, size", "size up", "delete_time"])
    def test_refuse_an_order_that_no_index_serves(self, filled, order):
        refusal = filled.refusal("ListWidgets", order_by=order)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["order_by"])


class TestPageToken:
    ARGUMENTS = {"page_size": 2, "filter": "size >= 0", "order_by": "size"}  # noqa: RUF012

    @pytest.mark.parametrize(
        "changed",
        [{"filter": "size >= -1"}, {"order_by": "size desc"}, {"order_by": ""}, {"show_deleted": True}],
    )
    def test_is_for_one_list(self, filled, changed):
        token = filled("ListWidgets", **self.ARGUMENTS).next_page_token
        refusal = filled.refusal("ListWidgets", **{**self.ARGUMENTS, **changed}, page_token=token)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["page_token"])

    def test_allows_another_page_size(self, filled):
        token = filled("ListWidgets", **self.ARGUMENTS).next_page_token
        assert len(filled("ListWidgets", **{**self.ARGUMENTS, "page_size": 3}, page_token=token).widgets) == 3

    def test_cannot_be_changed(self, filled):
        token = filled("ListWidgets", **self.ARGUMENTS).next_page_token
        for position in range(0, len(token), 5):
            other = "B" if token[position] != "B" else "C"
            forged = token[:position] + other + token[position + 1 :]
            refusal = filled.refusal("ListWidgets", **self.ARGUMENTS, page_token=forged)
            assert [*refusal.violations] == ["page_token"]


class TestTotal:
    def test_is_told_only_when_asked_for(self, server):
        caller = server.caller()
        fill(caller, 12)
        assert caller("ListWidgets", page_size=2).total_size == 0
        assert caller("ListWidgets", page_size=2, include_total_size=True).total_size == 12
        expected = len(caller("ListWidgets", filter="size = 1").widgets)
        assert caller("ListWidgets", page_size=1, filter="size = 1", include_total_size=True).total_size == expected

    def test_is_an_estimate_above_what_is_counted(self, server, monkeypatch):
        monkeypatch.setattr(store, "COUNTED", 5)
        caller = server.caller()
        fill(caller, 30)
        with server.database.connect() as connection:
            connection.execute("ANALYZE widgets")
        assert 6 <= caller("ListWidgets", include_total_size=True).total_size <= 100


class TestSearch:
    def found(self, named, query, **arguments):
        return [result.widget.display_name for result in named("SearchWidgets", query=query, **arguments).results]

    @pytest.mark.parametrize(
        ("query", "best"),
        [
            ("muller", "Müller Söhne"),
            ("MÜLLER", "Müller Söhne"),
            ("ller söh", "Müller Söhne"),
            ("sohne mull", "Müller Söhne"),
            ("Mueler", "Müller Söhne"),
            ("schmitt", "Schmidt & Co"),
            ("Schmitt & Co", "Schmidt & Co"),
            ("Shcmidt", "Schmidt & Co"),
            ("strasse", "Straße 7"),
            ("mi", "Miller"),
            ("100%", "100% Bio"),
            ("00% bi", "100% Bio"),
            ("mü sö", "Müller Söhne"),
            ("a_b", "a_b"),
            ("back\\s", "back\\slash"),
            ("it's", "it's"),
            ("part st", "Straße 7"),
        ],
    )
    def test_finds_parts_of_words_and_what_is_spelled_alike(self, named, query, best):
        assert self.found(named, query)[0] == best

    @pytest.mark.parametrize("query", ["zzzzzz", "zz qq", "x@y.z", "'; DROP TABLE widgets; --"])
    def test_finds_nothing_else(self, named, query):
        assert self.found(named, query) == []

    @pytest.mark.parametrize(
        "query", ["%s", "$1", "%L %I", "\\", "'", '"', "((", "x" * 200, "\u202e", "a b c d e f g h i"]
    )
    def test_bears_every_query(self, named, query):
        try:
            named("SearchWidgets", query=query)
        except Exception as error:  # noqa: BLE001
            assert error.code() is StatusCode.INVALID_ARGUMENT  # noqa: PT017

    def test_scores_what_fits_better_higher(self, named):
        results = named("SearchWidgets", query="miller").results
        assert results[0].widget.display_name == "Miller"
        assert [result.score for result in results] == sorted((result.score for result in results), reverse=True)
        assert all(0 < result.score <= 1 for result in results)

    def test_finds_the_whole_word_first_among_thousands_with_a_part_like_it(self, server):
        caller = server.caller()
        requests = [{"widget": {"display_name": f"Neu{number % 10}berg {number}"}} for number in range(1000)]
        caller("BatchCreateWidgets", requests=requests)
        caller("CreateWidget", widget={"display_name": "Haus Berg"})
        caller(
            "BatchCreateWidgets", requests=[{"widget": {"display_name": f"Alt{number}berg"}} for number in range(200)]
        )
        assert self.found(caller, "berg")[0] == "Haus Berg"

    def test_returns_no_more_than_asked_for(self, named):
        assert len(self.found(named, "part", page_size=3)) == 3

    def test_returns_only_what_the_mask_names(self, named):
        [result] = named("SearchWidgets", query="miller", page_size=1, read_mask=FieldMask(paths=["size"])).results
        assert result.widget == Widget()

    @pytest.mark.parametrize("query", ["", "\u200b", "%%%", "_", "& -"])
    def test_refuses_a_query_without_a_letter(self, named, query):
        refusal = named.refusal("SearchWidgets", query=query)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["query"])
