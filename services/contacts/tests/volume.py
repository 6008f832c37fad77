"""A tenant with many accounts and contacts, written by SQL in a few seconds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

TABLES = ("accounts", "contacts", "terms", "external_ids")
GIVEN = [
    "Anna", "Ben", "Carla", "David", "Elif", "Farid", "Greta", "Hassan", "Ida", "Jonas", "Karin", "Lukas", "Maria",
    "Nils", "Olga", "Pavel", "Rosa", "Samuel", "Tilda", "Ugur", "Vera", "Wanda", "Xenia", "Yusuf", "Zoe", "Adam",
    "Bruno", "Chiara", "Dora", "Emil", "Franz", "Gerda", "Henri", "Irina", "Jan", "Katja", "Lea", "Milan", "Nora",
    "Otto",
]  # fmt: skip
STARTS = [
    "Al", "Ber", "Brau", "Dor", "Eich", "Fal", "Gros", "Hof", "Jan", "Kra", "Lan", "Mul", "No", "Ober", "Pa",
    "Reich", "Schmi", "Stei", "Thal", "Ul", "Vol", "Wag", "Wei", "Zim",
]  # fmt: skip
MIDDLES = [
    "a", "be", "chel", "der", "es", "fen", "ger", "hal", "in", "kel", "la", "men", "ner", "or", "pel", "rich",
    "sen", "ter", "us", "vel", "wer", "zig",
]  # fmt: skip
ENDS = [
    "bach", "berg", "brunn", "dorf", "dt", "feld", "hardt", "heim", "hoff", "ing", "ke", "ler", "li", "mann",
    "mer", "ner", "now", "rath", "sen", "ski", "son", "stein", "wald",
]  # fmt: skip
CITIES = [
    "Aachen", "Berlin", "Celle", "Dresden", "Essen", "Fulda", "Gera", "Hamburg", "Ingolstadt", "Jena", "Kiel",
    "Leipzig", "Mainz", "Neuss", "Ulm",
]  # fmt: skip
FORMS = ["GmbH", "AG", "KG", "SE", "Ltd", "UG"]

_WORDS = {"given": GIVEN, "starts": STARTS, "middles": MIDDLES, "ends": ENDS, "cities": CITIES, "forms": FORMS}

# The names are picked by digests of the number, so that neighbours have nothing in common. An id has its number in the
# last digits, and the time in the first, as UUIDs of version 7 do.
_PEOPLE = """
CREATE TEMPORARY TABLE people AS
SELECT n, (lpad(to_hex(1700000000000 + n), 12, '0') || '7000a000' || lpad(to_hex(n), 12, '0'))::uuid AS id,
       given, family, town, form, h,
       '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 second' AS at
FROM generate_series(1, %(rows)s) n,
     LATERAL (SELECT hashint4extended(n::int, 7) & 9007199254740991) d(h),
     LATERAL (SELECT (%(given)s::text[])[1 + h %% 40] AS given,
                     (%(starts)s::text[])[1 + h / 64 %% 24] || (%(middles)s::text[])[1 + h / 4096 %% 22]
                     || (%(ends)s::text[])[1 + h / 262144 %% 23] AS family,
                     (%(cities)s::text[])[1 + h / 16777216 %% 15] AS town,
                     (%(forms)s::text[])[1 + h / 268435456 %% 6] AS form) p
"""

_ROWS = {
    "accounts": """
INSERT INTO accounts (tenant_id, id, version, create_time, update_time, owner, team, display_name, display_name_key,
                      industry, employee_count, parent, tier, emails, tags, language_code, custom_fields, search_text)
SELECT %(tenant)s, id, 1, at, at, owners[1 + n %% 50], teams[1 + n %% 10], name, lower(name), 'industry ' || n %% 50,
       h / 8 %% 5000, CASE WHEN n %% 10 = 0 THEN first_value(id) OVER (ORDER BY n) END, h %% 5,
       jsonb_build_array(jsonb_build_object('address', 'a' || n || '@example.com')), ARRAY['tag ' || n %% 100],
       (ARRAY['de', 'en', 'fr'])[1 + n %% 3], jsonb_build_object('segment', n %% 20), lower(name)
FROM people, LATERAL (SELECT family || ' ' || town || ' ' || form AS name) named,
     (SELECT %(owners)s::uuid[] AS owners, %(teams)s::uuid[] AS teams) who
""",
    "contacts": """
INSERT INTO contacts (tenant_id, id, version, create_time, update_time, owner, team, display_name, display_name_key,
                      given_name, family_name, family_name_key, emails, tags, language_code, lifecycle_stage,
                      custom_fields, search_text)
SELECT %(tenant)s, id, 1, at, at, owners[1 + n %% 50], teams[1 + n %% 10], name, lower(name), given, family,
       lower(family), jsonb_build_array(jsonb_build_object('address', 'a' || n || '@example.com')),
       ARRAY['tag ' || n %% 100], (ARRAY['de', 'en', 'fr'])[1 + n %% 3], 10 * (h %% 4),
       jsonb_build_object('segment', n %% 20), lower(name) || ' a' || n || '@example.com'
FROM people, LATERAL (SELECT given || ' ' || family AS name) named,
     (SELECT %(owners)s::uuid[] AS owners, %(teams)s::uuid[] AS teams) who
""",
    "terms": """
INSERT INTO terms (tenant_id, term, id)
SELECT %(tenant)s, field || '=' || value, id
FROM people,
     LATERAL (VALUES ('accounts.tags', 'tag ' || n %% 100), ('accounts.custom_fields.segment', 'segment ' || n %% 20),
                     ('contacts.tags', 'tag ' || n %% 100), ('contacts.custom_fields.segment', 'segment ' || n %% 20),
                     ('contacts.emails.address', 'a' || n || '@example.com'),
                     ('contacts.match.emails', 'a' || n || '@example.com')) held(field, value)
""",
    "external_ids": """
INSERT INTO external_ids (tenant_id, collection, system, key, id)
SELECT %(tenant)s, 'accounts', 'erp', n::text, id FROM people
""",
}


def name(collection: str, number: int) -> str:
    """Return the name of a record; numbers begin with 1."""
    return f"{collection}/{uuid.UUID(int=(1_700_000_000_000 + number) << 80 | 0x7000A000 << 48 | number)}"


def fill(connection: psycopg.Connection[Any], tenants: dict[uuid.UUID, int], owner: uuid.UUID, team: uuid.UUID) -> None:
    """Give each tenant so many accounts and contacts; a fiftieth of them belongs to `owner`, a tenth to `team`.

    With 100,000 of both it takes about ten seconds.
    """
    owners, teams = ([first, *(uuid.uuid4() for _ in range(n))] for first, n in ((owner, 49), (team, 9)))
    with _without_indexes(connection):
        for tenant, rows in tenants.items():
            values = {**_WORDS, "tenant": tenant, "rows": rows, "owners": owners, "teams": teams}
            connection.execute(_PEOPLE, values)
            for table in TABLES:
                connection.execute(_ROWS[table], values)
            connection.execute("DROP TABLE people")
    connection.execute("VACUUM ANALYZE")


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Drop the indexes while the block runs: to build them in one go is a fraction of the work."""
    found = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = ANY (%s::regclass[]) AND NOT indisprimary",
        [[*TABLES]],
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    yield
    connection.execute("SET maintenance_work_mem = '256MB'")
    for _, definition in found:
        connection.execute(definition)
