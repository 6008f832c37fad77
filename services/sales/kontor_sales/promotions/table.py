"""The resources and the tables of promotions and their redemptions."""

import sqlalchemy as sa

from kontor.sales.v1 import promotion_pb2, promotion_redemption_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table
from kontor_sales.tables import metadata

promotions = resource_table(
    "promotions",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("code", KEY_TEXT),
    sa.Column("description", sa.Text),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("discount_percent", sa.Numeric),
    sa.Column("discount_amount_amount", sa.Numeric),
    sa.Column("discount_amount_currency", sa.String(3)),
    sa.Column("budget_amount", sa.Numeric),
    sa.Column("budget_currency", sa.String(3)),
    sa.Column("redeemed_amount_amount", sa.Numeric),
    sa.Column("redeemed_amount_currency", sa.String(3)),
    sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
    sa.Column("segment", KEY_TEXT),
    array_column("products", sa.Uuid),
    array_column("families", sa.Text),
    sa.Column("redemption_count", sa.Integer, nullable=False),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    index("promotions", "code", unique=True),
    index("promotions", "display_name_key"),
    index("promotions", "state"),
    index("promotions", "end_time"),
    index("promotions", "segment"),
    index("promotions", "create_time"),
    index("promotions", "update_time"),
    owned=False,
)

promotion_redemptions = resource_table(
    "promotion_redemptions",
    metadata,
    sa.Column("promotion", sa.Uuid, nullable=False),
    sa.Column("account", sa.Uuid, nullable=False),
    sa.Column("discount_amount_amount", sa.Numeric),
    sa.Column("discount_amount_currency", sa.String(3)),
    sa.Column("occasion", KEY_TEXT),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("cancel_time", sa.DateTime(timezone=True)),
    sa.Column("cancel_reason", sa.Text),
    sa.ForeignKeyConstraint(
        ["tenant_id", "promotion"],
        ["promotions.tenant_id", "promotions.id"],
        name="promotion_redemptions_promotion_fkey",
    ),
    index("promotion_redemptions", "promotion"),
    index("promotion_redemptions", "account"),
    index("promotion_redemptions", "occasion"),
    index("promotion_redemptions", "state"),
    index("promotion_redemptions", "create_time"),
    index("promotion_redemptions", "update_time"),
    sa.Index(
        "promotion_redemptions_once",
        "tenant_id",
        "promotion",
        "account",
        unique=True,
        postgresql_where=sa.text("state = 1 AND delete_time IS NULL"),
    ),
    owned=False,
)

PROMOTION = Resource(
    promotion_pb2.Promotion,
    promotions,
    scope=TenantScope(),
    events=(*STANDARD_EVENTS, "redeemed", "released"),
    conflicts={"promotions_code": "another promotion has this code"},
)
PROMOTION_REDEMPTION = Resource(
    promotion_redemption_pb2.PromotionRedemption,
    promotion_redemptions,
    scope=TenantScope(),
    events=("created", "cancelled"),
    conflicts={"promotion_redemptions_once": "this customer has taken up the promotion already"},
)
