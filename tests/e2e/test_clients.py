"""Every way in leads to the same record: REST, gRPC with and without generated code, gRPC-Web, and the README's lines."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf import json_format

from kontor.contacts.v1 import account_service_pb2, account_service_pb2_grpc
from tests.e2e.rest import Rest, new_tenant

ROOT = Path(__file__).parents[2]
BUF = Path(sys.prefix) / "bin" / "buf"
SERVICE = "kontor.contacts.v1.AccountService"

pytestmark = pytest.mark.xdist_group("clients")

# Something of every kind of field: enums, repeated messages, money with cents, a Struct, letters beyond ASCII.
ACCOUNT = {
    "displayName": "Łódź & Söhne",
    "roles": ["ROLE_CUSTOMER", "ROLE_PARTNER"],
    "tier": "TIER_KEY",
    "employeeCount": 250,
    "annualRevenue": {"currencyCode": "EUR", "units": "12500000", "nanos": 990000000},
    "emails": [{"address": "büro@lodz.example", "kind": "CONTACT_POINT_KIND_WORK"}],
    "addresses": [{"lines": ["Rynek 1"], "locality": "Łódź", "regionCode": "PL"}],
    "tags": ["clients", "日本"],
    "externalIds": [{"system": "erp", "key": "4711/ä"}],
}


@pytest.fixture(scope="module")
def tenant(platform):
    return new_tenant(platform)


@pytest.fixture(scope="module")
def token(platform, tenant):
    return platform.token(tenant=tenant)


@pytest.fixture(scope="module")
def account(platform, tenant):
    """An account as REST returns it."""
    with Rest(platform, tenant) as rest:
        name = rest("POST", "accounts", ACCOUNT, allowDuplicates=True)["name"]
        return rest("GET", name)


@pytest.fixture(scope="module")
def descriptors(platform, tmp_path_factory):
    """The published descriptor set, which needs no token."""
    path = tmp_path_factory.mktemp("clients") / "descriptor.binpb"
    path.write_bytes(httpx.get(f"{platform.url}/protos/descriptor.binpb").raise_for_status().content)
    return path


@pytest.fixture(scope="module")
def buf_curl(token, tmp_path_factory):
    """Returns what runs `buf curl` and returns the answer's JSON."""
    home = tmp_path_factory.mktemp("home")

    def run(base, method, request, *flags, code=0):
        done = subprocess.run(
            [
                *(str(BUF), "curl", "--header", f"Authorization: Bearer {token}"),
                *("--data", json.dumps(request), *flags, f"{base}/{method}"),
            ],
            env={"HOME": str(home), "PATH": os.defpath},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stderr if code else done.stdout)

    return run


class TestWithoutGeneratedCode:
    def test_by_reflection_at_the_service(self, platform, buf_curl, account):
        base = f"http://{platform.address('contacts')}"
        answer = buf_curl(base, f"{SERVICE}/GetAccount", {"name": account["name"]}, "--protocol", "grpc")
        assert answer == account

    def test_what_the_service_has_is_told_by_reflection(self, platform):
        done = subprocess.run(
            [BUF, "curl", "--protocol", "grpc", "--list-methods", f"http://{platform.address('contacts')}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert f"{SERVICE}/BatchCreateAccounts" in done.stdout.split()

    @pytest.mark.parametrize(
        "flags",
        [("--protocol", "grpc", "--http2-prior-knowledge"), ("--protocol", "grpcweb")],
        ids=["gRPC", "gRPC-Web"],
    )
    def test_by_the_published_descriptors_through_the_gateway(self, platform, buf_curl, descriptors, account, flags):
        schema = ("--schema", str(descriptors))
        answer = buf_curl(platform.url, f"{SERVICE}/GetAccount", {"name": account["name"]}, *schema, *flags)
        assert answer == account
        listed = buf_curl(platform.url, f"{SERVICE}/SearchAccounts", {"query": "Lodz Sohne"}, *schema, *flags)
        assert account in [result["account"] for result in listed["results"]]

    @pytest.mark.parametrize("protocol", ["grpc", "grpcweb"])
    def test_errors_have_their_code_and_details(self, platform, buf_curl, descriptors, protocol):
        flags = ("--schema", str(descriptors), "--protocol", protocol)
        # buf's exit code is the gRPC code times eight.
        error = buf_curl(platform.url, f"{SERVICE}/GetAccount", {"name": "contacts/1"}, *flags, code=3 * 8)
        assert error["code"] == "invalid_argument"
        assert "google.rpc.BadRequest" in [detail["type"] for detail in error["details"]]


class TestWithGeneratedCode:
    @pytest.mark.parametrize("way", ["gateway", "contacts"])
    def test_the_record_is_the_same(self, platform, token, account, way):
        address = platform.url.removeprefix("http://") if way == "gateway" else platform.address(way)
        with grpc.insecure_channel(address) as channel:
            answer, call = account_service_pb2_grpc.AccountServiceStub(channel).GetAccount.with_call(
                account_service_pb2.GetAccountRequest(name=account["name"]),
                metadata=[("authorization", f"Bearer {token}")],
                timeout=10,
            )
        assert json_format.MessageToDict(answer) == account
        assert dict(call.initial_metadata())["etag"] == f'"{account["etag"]}"'


class TestRest:
    def test_the_record_is_the_same_in_whatever_way_it_is_asked_for(self, platform, tenant, account):
        with Rest(platform, tenant) as rest:
            name = account["name"]
            assert rest("GET", "accounts:batchGet", names=[name])["accounts"] == [account]
            assert rest("GET", "accounts", filter='tags:"日本"')["accounts"] == [account]
            found = rest("GET", "accounts:search", query="łódź söhne")["results"]
            assert account in [result["account"] for result in found]
            answer = rest.send("GET", name)
            assert answer.headers["etag"] == f'"{account["etag"]}"'
            assert rest("GET", name, readMask="displayName,annualRevenue.units") == {
                "displayName": account["displayName"],
                "annualRevenue": {"units": "12500000"},
            }


# The README is run as it is written, but for the port and the tenant.


class Checkout:
    """A folder that looks like a checkout in which `make run` runs."""

    def __init__(self, folder, platform, tenant):
        self._folder, self._platform, self._tenant = folder, platform, tenant
        (folder / ".kontor").symlink_to(platform.data)
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "buf").symlink_to(BUF)
        python = shlex.quote(sys.executable)
        kontor = programs / "kontor"
        kontor.write_text(
            f'#!/bin/sh\n[ "$2" != token ] || set -- "$@" --tenant {tenant}\nexec {python} -m kontor_dev "$@"\n'
        )
        kontor.chmod(0o755)

    def run(self, program, text):
        """Run a text of the README and return what it prints."""
        here = self._platform.url.removeprefix("http://")
        done = subprocess.run(
            [*program, text.replace("127.0.0.1:8080", here)],
            cwd=self._folder,
            env=dict(os.environ) | {"HOME": str(self._folder), "TOKEN": self._platform.token(tenant=self._tenant)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def checkout(platform, tenant, tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("checkout"), platform, tenant)


def blocks(heading, language):
    """Return the fenced blocks of a section of the README, without their indentation."""
    text = (ROOT / "README.md").read_text().partition(f"## {heading}\n")[2]
    section = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", section, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def documents(text):
    """Return the JSON documents that stand in a text, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


class TestReadme:
    def test_its_first_five_requests_do_what_it_says(self, checkout):
        steps = blocks("The first five requests", "sh")
        assert len(steps) == 6, "the preparation, and five requests"
        said = documents(checkout.run(["bash", "-euc"], "\n".join(steps)))
        created, listed, changed, found, deleted, restored = said
        assert created["displayName"] == "Blue Harbour Shipping"
        assert created in listed["accounts"]
        assert (changed["name"], changed["tier"], changed["etag"]) == (created["name"], "TIER_KEY", "v2")
        assert created["name"] in [result["account"]["name"] for result in found["results"]]
        assert "deleteTime" in deleted
        assert {**restored, "etag": "", "updateTime": ""} == {**changed, "etag": "", "updateTime": ""}

    def test_its_calls_of_grpc_are_answered(self, checkout, account):
        prepare = blocks("The first five requests", "sh")[0]
        (text,) = blocks("The same over gRPC", "sh")
        found, listed = documents(checkout.run(["bash", "-euc"], f"{prepare}\n{text}"))
        assert "code" not in found
        assert account["name"] in [listed_account["name"] for listed_account in listed["accounts"]]

    def test_its_python_lists_accounts(self, checkout, account):
        (text,) = blocks("The same over gRPC", "python")
        said = checkout.run([sys.executable, "-c"], text)
        assert f"{account['name']} {account['displayName']}" in said.splitlines()
