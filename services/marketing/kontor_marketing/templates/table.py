"""The resource and the tables of templates: themselves, and what each revision of them said."""

from __future__ import annotations

import uuid
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kontor.marketing.v1 import template_pb2, template_service_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.mapping import plain
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_marketing.tables import metadata

templates = resource_table(
    "templates",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("text_body", sa.Text, nullable=False),
    sa.Column("html_body", sa.Text),
    json_column("variants"),
    json_column("salutations"),
    sa.Column("salutation_fallback", sa.Text),
    array_column("tags", sa.Text),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("search_text", sa.Text, nullable=False),
    index("templates", "display_name_key", unique=True),
    index("templates", "create_time"),
    index("templates", "update_time"),
    search_index("templates"),
    owned=False,
)

# Written once: the role that serves can add a revision, and not change one.
template_revisions = sa.Table(
    "template_revisions",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("template", sa.Uuid, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("content", JSONB, nullable=False),
    sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.ForeignKeyConstraint(
        ["tenant_id", "template"], ["templates.tenant_id", "templates.id"], name="template_revisions_template_fkey"
    ),
)

TEMPLATE = Resource(
    template_pb2.Template,
    templates,
    scope=TenantScope(),
    conflicts={
        "templates_display_name_key": "another template has this name",
        "template_revisions_pkey": "the template was changed by somebody else; repeat",
    },
)

_TEMPLATE: Final = sa.bindparam("template", type_=sa.Uuid)
_REVISION: Final = sa.bindparam("revision", type_=sa.Integer)
_ADD: Final = Statement(
    template_revisions.insert().values(
        tenant_id=TENANT, template=_TEMPLATE, revision=_REVISION, content=sa.bindparam("content", type_=JSONB)
    )
)
_GET: Final = Statement(
    sa.select(template_revisions.c.content, template_revisions.c.create_time).where(
        template_revisions.c.tenant_id == TENANT,
        template_revisions.c.template == _TEMPLATE,
        template_revisions.c.revision == _REVISION,
    )
)


def add_revision(tx: Transaction, id: uuid.UUID, template: Any, fields: tuple[str, ...]) -> None:
    """Keep the fields of a template as one of its revisions says them."""
    content = {name: value for name, value in plain(template).items() if name in fields}
    tx.defer(_ADD, {"tenant": tx.tenant_id, "template": id, "revision": template.revision, "content": content})


def find_revision(tx: Transaction, id: uuid.UUID, revision: int) -> Any | None:
    """Return a TemplateRevision; None where there is none."""
    rows = tx.run(_GET, {"tenant": tx.tenant_id, "template": id, "revision": revision})
    if not rows:
        return None
    content, create_time = rows[0]
    return template_service_pb2.TemplateRevision(
        template=f"templates/{id}", revision=revision, create_time=create_time, **content
    )
