"""Writes the first version of a resource's service proto: its standard methods, as every resource has them.

Usage: python -m tools.standard_service protos/kontor/sales/v1/product.proto [--with search upsert]

It is a beginning: what is written is read, adapted (doc comments, custom methods) and kept by hand from then on.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

STANDARD = ("get", "list", "create", "update", "delete", "undelete", "batch_get", "batch_create")

_RESOURCE = re.compile(r'pattern: "(?P<collection>\w+)/\{(?P<singular>\w+)\}"')
_KIND = re.compile(r"^message (\w+) \{\n(?:.*\n)*?  option \(google\.api\.resource\)", re.MULTILINE)

_GUARDS = """\

  // A UUID that makes a repetition of this call return the first answer (AIP-155).
  string request_id = {n} [(buf.validate.field).string.max_len = 128];
"""
_VALIDATE = """\

  // Whether to check the request only, and store nothing (AIP-163).
  bool validate_only = {n};
"""
_READ_MASK = """\

  // The fields to return; all of them where it is empty.
  google.protobuf.FieldMask read_mask = {n};
"""
_NAME = """\
  // The name of the {words}, `{collection}/{{{singular}}}`.
  string name = 1 [
    (google.api.field_behavior) = REQUIRED,
    (google.api.resource_reference) = {{type: "{service}.kontor/{kind}"}}
  ];
"""
_ETAG = """\

  // The etag that the {words} must still have.
  string etag = 2;
"""

METHODS = {
    "get": """\
  // Returns {a} {words}.
  rpc Get{kind}(Get{kind}Request) returns ({kind}) {{
    option (google.api.http) = {{get: "/v1/{{name={collection}/*}}"}};
    option (google.api.method_signature) = "name";
    option (kontor.api.v1.permission) = "{service}.{collection}.read";
  }}
""",
    "list": """\
  // Lists {many}.
  rpc List{kinds}(List{kinds}Request) returns (List{kinds}Response) {{
    option (google.api.http) = {{get: "/v1/{collection}"}};
    option (kontor.api.v1.permission) = "{service}.{collection}.read";
  }}
""",
    "search": """\
  // Finds {many} by part of what they are called, also where it is misspelled.
  rpc Search{kinds}(Search{kinds}Request) returns (Search{kinds}Response) {{
    option (google.api.http) = {{get: "/v1/{collection}:search"}};
    option (kontor.api.v1.permission) = "{service}.{collection}.read";
  }}
""",
    "create": """\
  // Creates {a} {words}.
  rpc Create{kind}(Create{kind}Request) returns ({kind}) {{
    option (google.api.http) = {{
      post: "/v1/{collection}"
      body: "{singular}"
    }};
    option (google.api.method_signature) = "{singular}";
    option (kontor.api.v1.permission) = "{service}.{collection}.create";
  }}
""",
    "update": """\
  // Changes {a} {words}.
  rpc Update{kind}(Update{kind}Request) returns ({kind}) {{
    option (google.api.http) = {{
      patch: "/v1/{{{singular}.name={collection}/*}}"
      body: "{singular}"
    }};
    option (google.api.method_signature) = "{singular},update_mask";
    option (kontor.api.v1.permission) = "{service}.{collection}.update";
  }}
""",
    "upsert": """\
  // Creates the {words} with an external id, or changes it where it exists. Needs the right to create and to update.
  rpc Upsert{kind}(Upsert{kind}Request) returns (Upsert{kind}Response) {{
    option (google.api.http) = {{
      patch: "/v1/{collection}/externalIds/{{external_id.system}}/{{external_id.key}}"
      body: "{singular}"
    }};
    option (kontor.api.v1.permission) = "{service}.{collection}.update";
  }}
""",
    "delete": """\
  // Deletes {a} {words}. It can be undeleted.
  rpc Delete{kind}(Delete{kind}Request) returns ({kind}) {{
    option (google.api.http) = {{delete: "/v1/{{name={collection}/*}}"}};
    option (google.api.method_signature) = "name";
    option (kontor.api.v1.permission) = "{service}.{collection}.delete";
  }}
""",
    "undelete": """\
  // Brings a deleted {words} back.
  rpc Undelete{kind}(Undelete{kind}Request) returns ({kind}) {{
    option (google.api.http) = {{
      post: "/v1/{{name={collection}/*}}:undelete"
      body: "*"
    }};
    option (kontor.api.v1.permission) = "{service}.{collection}.delete";
  }}
""",
    "batch_get": """\
  // Returns several {many}, all or none.
  rpc BatchGet{kinds}(BatchGet{kinds}Request) returns (BatchGet{kinds}Response) {{
    option (google.api.http) = {{get: "/v1/{collection}:batchGet"}};
    option (kontor.api.v1.permission) = "{service}.{collection}.read";
  }}
""",
    "batch_create": """\
  // Creates several {many}: all or none, or as many as can be where partial success is asked for.
  rpc BatchCreate{kinds}(BatchCreate{kinds}Request) returns (BatchCreate{kinds}Response) {{
    option (google.api.http) = {{
      post: "/v1/{collection}:batchCreate"
      body: "*"
    }};
    option (kontor.api.v1.permission) = "{service}.{collection}.create";
  }}
""",
}

MESSAGES = {
    "get": "// Asks for {a} {words}.\nmessage Get{kind}Request {{\n" + _NAME + _READ_MASK.replace("{n}", "2") + "}}\n",
    "list": """\
// Asks for a page of {many}.
message List{kinds}Request {{
  // How many {many} to return at most: 50 where it is 0, never more than 1000.
  int32 page_size = 1;

  // The `next_page_token` of the page before; all other arguments must be the same.
  string page_token = 2;

  // Which {many} to list (AIP-160).
  string filter = 3;

  // How to sort, for example `update_time desc`; by creation where it is empty.
  string order_by = 4;

  // Whether deleted {many} are listed too.
  bool show_deleted = 5;

  // Whether `total_size` is wanted; counting costs time.
  bool include_total_size = 6;
"""
    + _READ_MASK.replace("{n}", "7")
    + """\
}}

// A page of {many}.
message List{kinds}Response {{
  // The {many}.
  repeated {kind} {plural} = 1;

  // What to send as `page_token` for the next page; empty at the end.
  string next_page_token = 2;

  // How many {many} there are on all pages, where it was asked for; an estimate above 10,000.
  int32 total_size = 3;
}}
""",
    "search": """\
// Looks for {many}.
message Search{kinds}Request {{
  // What to look for.
  string query = 1 [
    (google.api.field_behavior) = REQUIRED,
    (buf.validate.field).string = {{
      min_len: 1
      max_len: 200
    }}
  ];

  // How many results to return at most: 20 where it is 0, never more than 100.
  int32 page_size = 2;
"""
    + _READ_MASK.replace("{n}", "3")
    + """\
}}

// What was found.
message Search{kinds}Response {{
  // One {words} that was found.
  message Result {{
    // The {words}.
    {kind} {singular} = 1;

    // How well it fits, from 0 to 1.
    double score = 2;
  }}

  // The results, the best first.
  repeated Result results = 1;
}}
""",
    "create": """\
// Asks for a new {words}.
message Create{kind}Request {{
  // The {words} to create.
  {kind} {singular} = 1 [(google.api.field_behavior) = REQUIRED];
"""
    + _GUARDS.replace("{n}", "2")
    + _VALIDATE.replace("{n}", "3")
    + "}}\n",
    "update": """\
// Asks for a change of {a} {words}.
message Update{kind}Request {{
  // The {words} with its new values.
  {kind} {singular} = 1 [(google.api.field_behavior) = REQUIRED];

  // The fields to change: those that are set in `{singular}` where it is empty, all of them where it is `*`.
  google.protobuf.FieldMask update_mask = 2;
"""
    + _GUARDS.replace("{n}", "3")
    + _VALIDATE.replace("{n}", "4")
    + "}}\n",
    "upsert": """\
// Asks for the {words} with an external id to be created or changed.
message Upsert{kind}Request {{
  // The {words}'s key in another system.
  kontor.type.v1.ExternalId external_id = 1 [(google.api.field_behavior) = REQUIRED];

  // The {words} with its new values.
  {kind} {singular} = 2 [(google.api.field_behavior) = REQUIRED];

  // The fields to change where the {words} exists: those that are set in `{singular}` where it is empty.
  google.protobuf.FieldMask update_mask = 3;
"""
    + _GUARDS.replace("{n}", "4")
    + _VALIDATE.replace("{n}", "5")
    + """\
}}

// The {words} after the call.
message Upsert{kind}Response {{
  // The {words}.
  {kind} {singular} = 1;

  // Whether it was created by this call.
  bool created = 2;
}}
""",
    **{
        word: f"// Asks for {phrase}.\nmessage {word.capitalize()}{{kind}}Request {{{{\n"
        + _NAME
        + _ETAG
        + _GUARDS.replace("{n}", "3")
        + _VALIDATE.replace("{n}", "4")
        + "}}\n"
        for word, phrase in (
            ("delete", "{a} {words} to be deleted"),
            ("undelete", "a deleted {words} to be brought back"),
        )
    },
    "batch_get": """\
// Asks for several {many}.
message BatchGet{kinds}Request {{
  // The names of the {many}, at most 1000.
  repeated string names = 1 [
    (google.api.field_behavior) = REQUIRED,
    (google.api.resource_reference) = {{type: "{service}.kontor/{kind}"}},
    (buf.validate.field).repeated = {{
      min_items: 1
      max_items: 1000
    }}
  ];
"""
    + _READ_MASK.replace("{n}", "2")
    + """\
}}

// Several {many}.
message BatchGet{kinds}Response {{
  // The {many}, in the order of the names.
  repeated {kind} {plural} = 1;
}}
""",
    "batch_create": """\
// Asks for several new {many}.
message BatchCreate{kinds}Request {{
  // The {many} to create, at most 1000.
  repeated Create{kind}Request requests = 1 [
    (google.api.field_behavior) = REQUIRED,
    (buf.validate.field).repeated = {{
      min_items: 1
      max_items: 1000
    }}
  ];

  // Whether to create what can be created although something cannot (AIP-233).
  bool return_partial_success = 2;
"""
    + _GUARDS.replace("{n}", "3")
    + """\
}}

// The new {many}.
message BatchCreate{kinds}Response {{
  // The {many} in the order of the requests; those that failed are left out.
  repeated {kind} {plural} = 1;

  // Why a request failed, by its index; empty unless partial success was asked for.
  map<int32, google.rpc.Status> failed_requests = 2;
}}
""",
}
ORDER = ("get", "list", "search", "create", "update", "upsert", "delete", "undelete", "batch_get", "batch_create")


def names(proto: Path) -> dict[str, str]:
    """Read off the proto of a resource what it is called."""
    text = proto.read_text()
    found, kind = _RESOURCE.search(text), _KIND.search(text)
    if found is None or kind is None:
        sys.exit(f"{proto}: no message with a google.api.resource option and a flat pattern")
    collection, singular = found["collection"], found["singular"]
    words = singular.replace("_", " ")
    return {
        "service": proto.parts[-3],
        "kind": kind[1],
        "kinds": collection[0].upper() + collection[1:],
        "collection": collection,
        "singular": singular,
        "plural": _snake(collection),
        "words": words,
        "many": _snake(collection).replace("_", " "),
        "a": "an" if words[0] in "aeiou" else "a",
    }


def _snake(camel: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", camel)


def service_proto(proto: Path, methods: set[str]) -> str:
    """Return the text of the service proto."""
    called = names(proto)
    chosen = [method for method in ORDER if method in methods]
    imports = {
        "buf/validate/validate.proto",
        "google/api/annotations.proto",
        "google/api/client.proto",
        "google/api/field_behavior.proto",
        "google/api/resource.proto",
        "google/protobuf/field_mask.proto",
        "kontor/api/v1/annotations.proto",
        "/".join(proto.parts[proto.parts.index("kontor") :]),
        *(["google/rpc/status.proto"] if "batch_create" in methods else []),
        *(["kontor/type/v1/external_id.proto"] if "upsert" in methods else []),
    }
    head = [
        'syntax = "proto3";\n',
        f"package kontor.{called['service']}.v1;\n",
        "\n".join(f'import "{path}";' for path in sorted(imports)) + "\n",
    ]
    body = "\n".join(METHODS[method] for method in chosen)
    service = "// Keeps {many}.\nservice {kind}Service {{\n" + body + "}}\n"
    messages = [MESSAGES[method] for method in chosen]
    return "\n".join([*head, *(part.format(**called) for part in [service, *messages])])


def main() -> None:
    """Write `<resource>_service.proto` beside the resource's proto; refuse to overwrite one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proto", type=Path)
    parser.add_argument("--with", dest="extra", nargs="*", default=[], choices=["search", "upsert"])
    parser.add_argument("--without", nargs="*", default=[], choices=STANDARD)
    arguments = parser.parse_args()
    target = arguments.proto.with_name(f"{arguments.proto.stem}_service.proto")
    if target.exists():
        sys.exit(f"{target} exists: change it by hand")
    target.write_text(service_proto(arguments.proto, {*STANDARD, *arguments.extra} - {*arguments.without}))


if __name__ == "__main__":
    main()
