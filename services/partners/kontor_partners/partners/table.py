"""The resource and the table of partners, and who may see what belongs to one."""

from typing import Any

import sqlalchemy as sa

from kontor.partners.v1 import partner_pb2
from kontor_kit.db import Transaction
from kontor_kit.errors import PermissionDenied
from kontor_kit.principals import Principal, Scope
from kontor_kit.requests import Requests
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.scopes import TEAMS, OwnerScope, ParentScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_partners.partners.rules import ENDED
from kontor_partners.tables import metadata

partners = resource_table(
    "partners",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("account", sa.Uuid, nullable=False),
    sa.Column("type", sa.SmallInteger, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("state_reason", sa.Text),
    sa.Column("state_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("programme", sa.Uuid),
    sa.Column("level", KEY_TEXT),
    json_column("level_periods"),
    sa.Column("next_level_date", sa.Date),
    sa.Column("next_level", KEY_TEXT),
    array_column("region_codes", sa.Text),
    array_column("products", sa.Uuid),
    array_column("product_families", sa.Text),
    sa.Column("offer_capacity", sa.Integer, nullable=False),
    sa.Column("agreement_end_date", sa.Date),
    sa.Column("next_review_date", sa.Date),
    sa.Column("partner_team", sa.Uuid),
    json_column("external_ids"),
    sa.Column("search_text", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "programme"], ["programmes.tenant_id", "programmes.id"], name="partners_programme_fkey"
    ),
    index("partners", "display_name_key"),
    index("partners", "account"),
    index("partners", "type"),
    index("partners", "state"),
    index("partners", "programme"),
    index("partners", "level"),
    index("partners", "agreement_end_date"),
    index("partners", "next_review_date"),
    index("partners", "partner_team", unique=True),
    index("partners", "create_time"),
    index("partners", "update_time"),
    # Those whose level changes by itself: what the job looks for.
    sa.Index(
        "partners_next_level",
        "tenant_id",
        "next_level_date",
        "id",
        postgresql_where=sa.text("next_level_date IS NOT NULL AND delete_time IS NULL"),
    ),
    search_index("partners"),
)


class PartnerScope(OwnerScope):
    """`team` reaches the partners that the caller's teams work with, and those whose people the caller is one of.

    Those see nothing any more once the partnership has ended, or the partner is deleted.
    """

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Compare `partner_team` too."""
        condition = super().clause(scope, table)
        if scope is not Scope.TEAM or condition is None:
            return condition
        is_there = sa.and_(table.c.state != ENDED, table.c.delete_time.is_(None))
        return sa.or_(condition, sa.and_(table.c.partner_team == sa.any_(TEAMS), is_there))


class PartnersOwn(ParentScope):
    """Records follow the partner that they belong to: whoever reaches it reaches them, and loses them with it."""

    def __init__(self) -> None:
        super().__init__("partner", partners, PartnerScope())


PARTNER = Resource(
    partner_pb2.Partner,
    partners,
    scope=PartnerScope(),
    events=(*STANDARD_EVENTS, "applied", "approved", "activated", "suspended", "ended", "level_set", "level_changed"),
    conflicts={"partners_partner_team": "the team belongs to another partner"},
)


def require_reach(principal: Principal, scope: Scope, partner: Any) -> None:
    """Raise PermissionDenied where a permission of `scope` does not reach a partner: as its clause, for what is created."""
    teams = {f"teams/{team}" for team in principal.teams}
    owns = partner.owner == principal.subject
    is_of = scope is Scope.TEAM and (
        partner.team in teams or (partner.partner_team in teams and partner.state != ENDED)
    )
    if not (scope is Scope.ALL or owns or is_of):
        raise PermissionDenied(f"your permission does not reach {partner.name}", reason="OUT_OF_SCOPE")


def take_turns(requests: Requests, tx: Transaction) -> None:
    """Queue a lock of the tenant: who gets which lead is decided for one after the other, and so is which partner stops.

    It is taken before any record is locked.
    """
    requests.serialise(tx, "leadOffers/turns")
