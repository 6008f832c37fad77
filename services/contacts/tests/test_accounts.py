"""Accounts: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from kontor.api.v1.conflict_pb2 import Suspects
from kontor.contacts.v1.account_pb2 import Account
from kontor_kit.ids import uuid7
from kontor_kit.testing import answer

ROLE, TIER = Account.Role, Account.Tier


def create(caller, name, **fields):
    return caller("CreateAccount", account={"display_name": name, **fields}, allow_duplicates=True)


class TestStored:
    def test_comes_back_in_every_field_and_in_its_normal_form(self, anna):
        parent = create(anna, "Konzern")
        anna(
            "CreateCustomFieldDefinition",
            custom_field_definition={"resource_type": "accounts", "key": "score", "display_name": "Score", "type": 3},
        )
        sent = {
            "display_name": "Müller GmbH",
            "legal_name": "Müller Maschinenbau GmbH & Co. KG",
            "roles": [ROLE.ROLE_CUSTOMER, ROLE.ROLE_SUPPLIER],
            "industry": "machines",
            "employee_count": 12,
            "annual_revenue": {"currency_code": "EUR", "units": 5, "nanos": 500_000_000},
            "website": "https://mueller.example/",
            "parent": parent.name,
            "tier": TIER.TIER_KEY,
            "emails": [{"address": "Info@Mueller.Example", "primary": True}, {"address": "x@mueller.example"}],
            "phones": [{"number": "+49 30 123456", "kind": 1}],
            "addresses": [
                {"lines": ["Hauptstr. 1"], "locality": "Berlin", "postal_code": "10115", "region_code": "DE"}
            ],
            "collaborators": [f"users/{uuid7()}"],
            "tags": ["VIP"],
            "external_ids": [{"system": "erp", "key": "4711"}],
            "language_code": "de",
            "custom_fields": {"score": 2.5},
        }
        created = anna("CreateAccount", account=sent)
        assert anna("GetAccount", name=created.name) == created
        assert created.emails[0].address == "info@mueller.example"
        assert created.phones[0].number == "+4930123456"
        got = MessageToDict(created, preserving_proto_field_name=True)
        for name in ("display_name", "legal_name", "roles", "industry", "parent", "tags", "custom_fields", "tier"):
            expected = MessageToDict(Account(**{name: sent[name]}), preserving_proto_field_name=True)[name]
            assert got[name] == expected

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": ""}, "display_name"),
            ({"display_name": "  "}, "display_name"),
            ({"display_name": "x" * 201}, "display_name"),
            ({"emails": [{"address": "a@b.example"}, {"address": "nobody"}]}, "emails[1].address"),
            ({"phones": [{"number": "12"}]}, "phones[0].number"),
            ({"addresses": [{"region_code": "XX"}]}, "addresses[0].region_code"),
            ({"language_code": "not a language"}, "language_code"),
            ({"website": "ftp://x"}, "website"),
            ({"employee_count": -1}, "employee_count"),
            ({"annual_revenue": {"currency_code": "XXQ", "units": 1}}, "annual_revenue.currency_code"),
            ({"roles": [0]}, "roles[0]"),
            ({"tags": ["a", "a"]}, "tags"),
            ({"parent": "contacts/1"}, "parent"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateAccount", account={"display_name": "A", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"account.{path}"])
        assert len(anna("ListAccounts").accounts) == 0


class TestParent:
    def test_refuses_one_that_is_not_there_or_not_in_reach(self, server, anna):
        stranger = create(server.caller(), "Fremd")
        for name in (f"accounts/{uuid7()}", stranger.name):
            refusal = anna.refusal("CreateAccount", account={"display_name": "A", "parent": name})
            assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["account.parent"])
        hers = create(anna, "Ihres")
        ben = anna.colleague("*:own")
        refusal = ben.refusal("CreateAccount", account={"display_name": "B", "parent": hers.name})
        assert [*refusal.violations] == ["account.parent"]

    def test_refuses_a_circle(self, anna):
        top = create(anna, "Oben")
        middle = create(anna, "Mitte", parent=top.name)
        bottom = create(anna, "Unten", parent=middle.name)
        for parent in (top, middle, bottom):
            refusal = anna.refusal("UpdateAccount", account={"name": top.name, "parent": parent.name})
            assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["account.parent"])
        anna("UpdateAccount", account={"name": bottom.name}, update_mask=FieldMask(paths=["parent"]))
        assert anna("UpdateAccount", account={"name": top.name, "parent": bottom.name}).parent == bottom.name

    def test_two_that_move_at_once_do_not_close_a_circle(self, anna):
        for _ in range(5):
            pair = [create(anna, "A"), create(anna, "B")]

            def move(number, pair=pair):
                try:
                    return anna("UpdateAccount", account={"name": pair[number].name, "parent": pair[1 - number].name})
                except grpc.RpcError as error:
                    return answer(error)

            with ThreadPoolExecutor(2) as pool:
                answers = [*pool.map(move, range(2))]
            [lost] = [found for found in answers if not isinstance(found, Account)]
            # Neither waits until PostgreSQL finds that both do.
            assert (lost.code, [*lost.violations]) == (StatusCode.INVALID_ARGUMENT, ["account.parent"])

    def test_lists_those_below(self, anna):
        top = create(anna, "Oben")
        below = [create(anna, name, parent=top.name).name for name in "AB"]
        listed = anna("ListAccounts", filter=f"parent = {top.name}")
        assert [account.name for account in listed.accounts] == below


class TestSuspects:
    @pytest.mark.parametrize(
        ("first", "second", "field"),
        [
            ({"emails": [{"address": "info@a.example"}]}, {"emails": [{"address": "INFO@a.example"}]}, "emails"),
            ({"phones": [{"number": "+49 30 123456"}]}, {"phones": [{"number": "+4930123456"}]}, "phones"),
            (
                {"display_name": "Acme GmbH", "website": "https://acme.example"},
                {"display_name": "ACME AG", "website": "http://www.acme.example/de"},
                "display_name",
            ),
        ],
    )
    def test_are_told(self, anna, first, second, field):
        stored = create(
            anna,
            **({"name": "Eins"} | ({"name": first.pop("display_name")} if "display_name" in first else {})),
            **first,
        )
        refusal = anna.refusal("CreateAccount", account={"display_name": "Zwei", **second})
        assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "SUSPECTED_DUPLICATE")
        [suspect] = refusal.detail(Suspects).suspects
        assert suspect.resource_name == stored.name
        assert field in suspect.matching_fields
        anna("CreateAccount", account={"display_name": "Zwei", **second}, allow_duplicates=True)

    def test_are_not_told_when_deleted(self, anna):
        emails = [{"address": "info@a.example"}]
        anna("DeleteAccount", name=create(anna, "A", emails=emails).name)
        anna("CreateAccount", account={"display_name": "B", "emails": emails})


class TestSearch:
    def test_finds_misspelled_names_addresses_and_legal_names(self, anna):
        stored = create(anna, "Müller Söhne", legal_name="Huber Holding", emails=[{"address": "info@mueller.example"}])
        create(anna, "Schmidt")
        for query in ("Mueller", "muler", "sohne", "huber hold", "holdnig", "info@mueller", "mü"):
            found = anna("SearchAccounts", query=query)
            assert [result.account.name for result in found.results][:1] == [stored.name], query


class TestAddressStatus:
    def test_is_shown_on_every_record_with_the_address(self, anna):
        emails = [{"address": "info@a.example"}]
        first, second = create(anna, "A", emails=emails), create(anna, "B", emails=emails)
        status = {"kind": 1, "address": "INFO@a.example", "opted_out": True}
        anna("SetAddressStatus", address_status=status)
        got = [
            anna("GetAccount", name=first.name),
            *anna("ListAccounts", filter="emails.address:'info@a.example'").accounts,
        ]
        got += [result.account for result in anna("SearchAccounts", query="info@a.example").results]
        got += anna("BatchGetAccounts", names=[first.name, second.name]).accounts
        assert len(got) == 7
        assert all(account.emails[0].opted_out and not account.emails[0].invalid for account in got)

    def test_cannot_be_set_on_the_record(self, anna):
        stored = create(anna, "A", emails=[{"address": "info@a.example", "invalid": True, "opted_out": True}])
        assert not stored.emails[0].invalid
        assert not stored.emails[0].opted_out


class TestCustomFields:
    @pytest.fixture
    def defined(self, anna):
        """Define a field of accounts: `defined("colour", type=1)`."""

        def define(key, **fields):
            definition = {"resource_type": "accounts", "key": key, "display_name": key, "filterable": True, **fields}
            return anna("CreateCustomFieldDefinition", custom_field_definition=definition)

        return define

    def test_filter_does_not_find_what_was_removed_while_the_field_was_deleted(self, anna, defined):
        colour = defined("colour", type=1)
        kept, cleared = (create(anna, name, custom_fields={"colour": "red"}) for name in ("Kept", "Cleared"))
        anna("DeleteCustomFieldDefinition", name=colour.name)
        anna("UpdateAccount", account={"name": cleared.name}, update_mask={"paths": ["custom_fields.colour"]})
        anna("UpdateAccount", account={"name": kept.name, "tags": ["vip"]})
        anna("UndeleteCustomFieldDefinition", name=colour.name)
        found = anna("ListAccounts", filter="custom_fields.colour = red").accounts
        assert [account.name for account in found] == [kept.name]

    @pytest.mark.parametrize("again", [{"type": 3}, {"type": 8, "options": [{"value": "a"}]}, {"filterable": False}])
    def test_key_means_what_it_did_before(self, anna, defined, again):
        colour = defined("colour", type=1)
        account = create(anna, "Acme", custom_fields={"colour": "red"})
        anna("DeleteCustomFieldDefinition", name=colour.name)
        wanted = {"resource_type": "accounts", "key": "colour", "display_name": "Colour", "type": 1, "filterable": True}
        refusal = anna.refusal("CreateCustomFieldDefinition", custom_field_definition={**wanted, **again})
        assert refusal.reason == "KEY_MEANT_SOMETHING_ELSE"
        defined("colour", type=1)
        found = anna("ListAccounts", filter="custom_fields.colour = red").accounts
        assert [each.name for each in found] == [account.name]
