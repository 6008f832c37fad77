"""The resource and the table of contracts."""

import sqlalchemy as sa

from kontor.sales.v1 import contract_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_sales.tables import metadata

contracts = resource_table(
    "contracts",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("account", sa.Uuid, nullable=False),
    sa.Column("order", sa.Uuid),
    sa.Column("amount_amount", sa.Numeric),
    sa.Column("amount_currency", sa.String(3)),
    sa.Column("start_date", sa.Date, nullable=False),
    sa.Column("end_date", sa.Date),
    sa.Column("notice_months", sa.Integer, nullable=False),
    sa.Column("notice_days", sa.Integer, nullable=False),
    sa.Column("renewal", sa.SmallInteger, nullable=False),
    sa.Column("renewal_months", sa.Integer, nullable=False),
    sa.Column("renewal_lead_days", sa.Integer, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("notice_date", sa.Date),
    sa.Column("renewal_due_date", sa.Date),
    sa.Column("renewal_opportunity", sa.Uuid),
    sa.Column("renewal_count", sa.Integer, nullable=False),
    sa.Column("termination_date", sa.Date),
    sa.Column("termination_reason", sa.Text),
    sa.Column("renewal_raised_for", sa.Date),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "order"], ["orders.tenant_id", "orders.id"], name="contracts_order_fkey"),
    sa.ForeignKeyConstraint(
        ["tenant_id", "renewal_opportunity"],
        ["opportunities.tenant_id", "opportunities.id"],
        name="contracts_renewal_opportunity_fkey",
    ),
    index("contracts", "display_name_key"),
    index("contracts", "account"),
    index("contracts", "order"),
    index("contracts", "end_date"),
    index("contracts", "renewal"),
    index("contracts", "state"),
    index("contracts", "notice_date"),
    index("contracts", "create_time"),
    index("contracts", "update_time"),
    # Those whose renewal is to be raised, and those that go on by themselves: what the job looks for.
    sa.Index(
        "contracts_renewal_due",
        "tenant_id",
        "renewal_due_date",
        "id",
        postgresql_where=sa.text("renewal_due_date IS NOT NULL AND delete_time IS NULL"),
    ),
    sa.Index(
        "contracts_automatic",
        "tenant_id",
        "end_date",
        "id",
        postgresql_where=sa.text("state = 1 AND renewal = 3 AND delete_time IS NULL"),
    ),
    search_index("contracts"),
)

CONTRACT = Resource(
    contract_pb2.Contract,
    contracts,
    events=(*STANDARD_EVENTS, "renewal_due", "renewed", "terminated"),
)
