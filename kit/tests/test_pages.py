"""Page sizes and page tokens."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.errors import InvalidArgument
from kontor_kit.pages import PageTokens, page_size

KEY = "a key for tests that is long enough"
TOKENS = PageTokens(KEY)
ARGUMENTS = ["list", "tenant", "a = 1", "", False, None, 3]
VALUES = (
    st.text()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC)).map(lambda moment: moment.replace(fold=0))
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False)
)


@pytest.mark.parametrize(("given_size", "size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_page_size(given_size: int, size: int) -> None:
    assert page_size(given_size) == size


def test_page_size_refused_when_negative() -> None:
    with pytest.raises(InvalidArgument) as caught:
        page_size(-1)
    assert caught.value.violations[0].field == "page_size"


class TestTokens:
    @given(st.lists(VALUES, max_size=4))
    def test_same_values_of_same_types_when_opened(self, position: list[Any]) -> None:
        opened = TOKENS.open(TOKENS.seal(ARGUMENTS, position), ARGUMENTS)
        assert [(type(value), repr(value)) for value in opened] == [(type(value), repr(value)) for value in position]

    def test_opened_by_another_replica_with_the_key(self) -> None:
        assert PageTokens(KEY).open(TOKENS.seal(ARGUMENTS, [1]), ARGUMENTS) == [1]

    @pytest.mark.parametrize("change", [{0: "search"}, {2: "a = 2"}, {4: True}, {4: 0}, {5: ""}, {6: 4}, {6: "3"}])
    def test_refused_when_an_argument_differs(self, change: dict[int, Any]) -> None:
        token = TOKENS.seal(ARGUMENTS, [1])
        other = [change.get(index, argument) for index, argument in enumerate(ARGUMENTS)]
        self.assert_refused(token, other)

    def test_refused_when_any_character_differs(self) -> None:
        token = TOKENS.seal(ARGUMENTS, ["Meyer", uuid.UUID(int=1)])
        for index, character in enumerate(token):
            self.assert_refused(token[:index] + ("A" if character != "A" else "B") + token[index + 1 :])

    @given(st.text() | st.binary(max_size=60).map(lambda data: data.hex()))
    def test_refused_when_made_up(self, token: str) -> None:
        self.assert_refused(token)

    def test_refused_when_of_another_key_or_padded_or_huge(self) -> None:
        token = TOKENS.seal(ARGUMENTS, [1, 22])
        self.assert_refused(PageTokens(KEY[::-1]).seal(ARGUMENTS, [1]))
        self.assert_refused(token + "=")
        self.assert_refused(token + "\n")
        self.assert_refused("A" * 100_000)

    def test_nothing_of_the_position_shows(self) -> None:
        token = TOKENS.seal(ARGUMENTS, ["Meyer"])
        assert token != TOKENS.seal(ARGUMENTS, ["Meyer"])
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

    def test_key_refused_when_short(self) -> None:
        with pytest.raises(ValueError, match="32 characters"):
            PageTokens("x" * 31)

    def assert_refused(self, token: str, arguments: list[Any] = ARGUMENTS) -> None:
        with pytest.raises(InvalidArgument) as caught:
            TOKENS.open(token, arguments)
        assert caught.value.violations[0].field == "page_token"


def test_a_decimal_keeps_its_places() -> None:
    assert str(TOKENS.open(TOKENS.seal([], [Decimal("1.50")]), [])[0]) == "1.50"
