"""Statements sent together, on a real connection."""

import threading
import uuid

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.adapt import PyFormat

from kit.tests import widgets
from kontor_kit import wire
from kontor_kit.db import Statement
from kontor_kit.wire import Connection, Sent

ONE = Sent(b"SELECT 1")
DIVIDE = Sent(b"SELECT 1 / $1::int", (0,), [PyFormat.TEXT])
PREPARED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture(scope="module")
def database(databases):
    return databases.new(widgets.service())


@pytest.fixture
def connection(database):
    with Connection.connect(database.url("app"), autocommit=True, prepare_threshold=None) as connection:
        yield connection


def prepared(connection):
    return connection.execute(PREPARED).fetchone()[0]


class TestExchange:
    def test_rows_come_in_order_when_several_are_sent(self, connection):
        text = Sent(b"SELECT $1::text, $2::text", ("a", None), [PyFormat.TEXT] * 2)
        assert connection.exchange([ONE, Sent(b"BEGIN"), text, Sent(b"COMMIT"), ONE]) == [
            [(1,)],
            [],
            [("a", None)],
            [],
            [(1,)],
        ]

    def test_nothing_comes_when_nothing_is_sent(self, connection):
        assert connection.exchange([]) == []

    def test_values_survive_whatever_they_are(self, connection):
        values = (uuid.uuid4(), ["a", 'b",\\{}', None, ""], b"\0\xff" * 1000, -(2**62), True, "ü\n'")
        sql = b"SELECT $1::uuid, $2::text[], $3::bytea, $4::bigint, $5::bool, $6::text"
        formats = [PyFormat.BINARY if isinstance(value, bytes) else PyFormat.TEXT for value in values]
        assert connection.exchange([Sent(sql, values, formats)]) == [[values]]

    def test_much_is_exchanged_when_neither_side_can_hold_it(self, connection):
        much = Sent(b"SELECT $1::text", ("x" * 3_000_000,), [PyFormat.TEXT])
        answers = connection.exchange([much] * 5)
        assert [len(row[0]) for answer in answers for row in answer] == [3_000_000] * 5

    def test_a_statement_is_prepared_once_when_values_differ_in_type(self, connection):
        for value in (1, None, 2**40, 1.0):
            connection.exchange([Sent(b"SELECT $1::numeric", (value,), [PyFormat.TEXT])] * 2)
        assert prepared(connection) == 1

    def test_those_prepared_are_forgotten_when_they_are_too_many(self, connection, monkeypatch):
        monkeypatch.setattr(wire, "MAX_PREPARED", 10)
        for number in range(30):
            assert connection.exchange([Sent(b"SELECT %d" % number), ONE]) == [[(number,)], [(1,)]]
        assert prepared(connection) <= 12


class TestErrors:
    def test_the_error_is_raised_and_nothing_behind_it_done_when_one_fails(self, connection):
        connection.execute("CREATE TEMP TABLE marks (mark int)")
        mark = Sent(b"INSERT INTO marks VALUES (1)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.exchange([mark, DIVIDE, mark])
        assert connection.exchange([Sent(b"SELECT * FROM marks"), ONE]) == [[], [(1,)]]

    def test_a_statement_serves_again_when_one_beside_it_is_no_sql(self, connection):
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.exchange([ONE, Sent(b"SELEKT 1")])
        assert connection.exchange([ONE]) == [[(1,)]]

    def test_the_transaction_can_be_rolled_back_when_it_failed(self, connection):
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.exchange([Sent(b"BEGIN"), DIVIDE])
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.exchange([ONE])
        connection.rollback()
        assert connection.exchange([ONE]) == [[(1,)]]

    def test_the_connection_serves_on_when_a_value_cannot_be_sent(self, connection):
        with pytest.raises(psycopg.DataError):
            connection.exchange([ONE, Sent(b"SELECT $1::text", ("\0",), [PyFormat.TEXT])])
        assert connection.exchange([ONE]) == [[(1,)]]

    def test_the_connection_is_closed_when_the_server_ends_it(self, connection, database):
        [[(pid,)]] = connection.exchange([Sent(b"SELECT pg_backend_pid()")])
        with database.connect() as superuser:
            timer = threading.Timer(0.2, superuser.execute, ("SELECT pg_terminate_backend(%s)", (pid,)))
            timer.start()
            with pytest.raises(psycopg.OperationalError):
                connection.exchange([ONE, Sent(b"SELECT pg_sleep(20)"), ONE])
            timer.join()
        assert connection.closed

    def test_the_connection_is_closed_when_the_wait_is_interrupted(self, connection, monkeypatch):
        def interrupted(generator):
            generator.close()
            raise KeyboardInterrupt

        monkeypatch.setattr(connection, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            connection.exchange([ONE])
        assert connection.closed


class TestStatement:
    def test_constants_and_values_stand_where_the_sql_has_them(self, connection):
        given = sa.bindparam("given", type_=sa.Text)
        statement = Statement(sa.select(sa.literal(5), given, sa.literal("x"), given))
        assert connection.exchange([statement.with_values({"given": "a", "more": 1})]) == [[(5, "a", "x", "a")]]

    def test_a_value_that_is_missing_is_an_error(self):
        statement = Statement(sa.select(sa.bindparam("given", type_=sa.Text)))
        with pytest.raises(KeyError):
            statement.with_values({})
