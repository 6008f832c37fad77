"""What OpenAPI says is what the gateway does: schemathesis calls every operation with what fits and what does not.

Nothing is answered with 5xx, with a status, a header or a content type that is not described, or with a body that does
not fit its schema; and what does not fit its schema is refused.
"""

from __future__ import annotations

import json
import re
import uuid
from importlib import resources

import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events

from kontor_gateway.contract import Contract
from kontor_gateway.examples import Examples
from kontor_gateway.openapi import openapi
from tests.e2e.contract import TENANT
from tests.e2e.people import Tenant

CONTRACT = Contract.load((resources.files("kontor") / "descriptors.binpb").read_bytes())
DESCRIPTION = openapi(CONTRACT, issuer="http://127.0.0.1")
CONFIG = {
    "seed": 1,
    "continue-on-failure": True,
    "generation": {"mode": "all", "max-examples": 5, "deterministic": True, "no-shrink": True},
    "phases": {"coverage": {"unexpected-methods": ["PUT"]}, "stateful": {"enabled": False}},
    "checks": {
        # What fits its schema can still be wrong: an account that would be its own parent, for example.
        "positive_data_acceptance": {"enabled": False},
        # 412: what fits the schema, but for one thing, may be about another version of the record as well.
        "negative_data_rejection": {
            "expected-statuses": [400, 401, 403, 404, 405, 406, 409, 412, 415, 422, 428, 429, "5xx"]
        },
        # That nobody gets in without a token is tried elsewhere, in more ways.
        "ignored_auth": {"enabled": False},
    },
}
# Where records are created one by one, all ways have been tried in which one can be wrong: a few more will do where they
# are created in batches, by a key or with their past. Changing, deleting, finding and listing is the kit's, the same for
# all: tried on accounts.
FEW = CONFIG | {"phases": {"coverage": {"enabled": False}, "stateful": {"enabled": False}}}
TRIED = (":batchCreate", ":import", "/externalIds/{system}/{key}")
ALIKE = ("}", ":undelete", ":batchGet", ":search", "/changes")


@pytest.fixture(scope="module")
def tenant(client):
    made = Tenant(client)
    made.furnish()
    return made


@pytest.fixture(scope="module")
def description(tenant):
    """The description, with examples that name records which are there."""
    examples, ids = Examples(CONTRACT), {}
    for kind, name in tenant.names.items():
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.partition("/")[2]).lower()
        camel = re.sub(r"_(.)", lambda match: match[1].upper(), snake)
        ids |= dict.fromkeys(map(examples.identifier, (snake, camel)), name.rpartition("/")[2])
    text = re.sub("|".join(ids), lambda match: ids[match[0]], json.dumps(DESCRIPTION))
    made = json.loads(text)
    # Whatever the version is.
    made["components"]["parameters"]["If-Match"]["example"] = "*"
    return made


def adapted(context, case):
    """Repeats no call, as the answer would come from the first one, and wants all of a batch or nothing."""
    if isinstance(case.body, dict) and case.body.get("returnPartialSuccess") is True:
        case.body["returnPartialSuccess"] = False
    if 0 < len(case.headers.get("Idempotency-Key", "")) <= 128:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    return case


# They never end; what they answer is tried where they are tried.
STREAMS = {
    binding.template.text for method in CONTRACT.methods if method.proto.server_streaming for binding in method.bindings
}


@pytest.mark.parametrize("path", sorted(DESCRIPTION["paths"].keys() - STREAMS))
def test_the_gateway_does_what_is_said_of_it(platform, tenant, description, path):
    token = tenant.master(TENANT if path.startswith("/v1/tenants") else "")
    is_tried = path.endswith(TRIED) or (path.endswith(ALIKE) and "accounts" not in path)
    config = (FEW if is_tried else CONFIG) | {
        "base-url": platform.url,
        "headers": {"Authorization": f"Bearer {token}"},
    }
    schema = schemathesis.openapi.from_dict(
        description | {"paths": {path: description["paths"][path]}}, config=SchemathesisConfig.from_dict(config)
    )
    schema.hook("map_case")(adapted)
    cases, problems = 0, []
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            cases += len(event.recorder.cases)
            problems += failures(event.recorder)
        elif isinstance(event, (events.NonFatalError, events.FatalError)):
            problems.append(str(event))
    assert cases
    assert not problems, "\n\n".join(problems)


def failures(recorder):
    """What the checks of a scenario found."""
    checks = [check for found in recorder.checks.values() for check in found if check.failure_info is not None]
    return [
        f"{check.failure_info.failure.title}\n{check.failure_info.failure.message}\n{check.failure_info.code_sample}"
        for check in checks
    ]


def test_what_is_published_is_what_was_tried(platform, client):
    assert client.http.get("/openapi.json").json() == openapi(CONTRACT, issuer=platform.url)
