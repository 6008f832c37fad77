"""The real CRM sales set goes in through REST, with its history, and what the reports say is what plain pandas says.

Agents become users, their managers' teams teams; an open deal is worth the list price of its product, one that was
closed what the set says. 1,425 deals name no account, 500 have not begun, and one product is spelled in two ways. The
set lies beside the repository and not in it.
"""

import uuid

import pandas as pd
import pytest

from tests.e2e.rest import Rest, new_tenant
from tests.real_data import DATA, needs_data

pytestmark = needs_data

BATCH = 1000
SPELLED = {"GTXPro": "GTX Pro"}
STAGES = [
    {"id": "prospecting", "displayName": "Prospecting", "probability": {"value": "0.1"}},
    {"id": "engaging", "displayName": "Engaging", "probability": {"value": "0.4"}},
]


@pytest.fixture(scope="module")
def rest(platform):
    with Rest(platform, new_tenant(platform)) as client:
        yield client


@pytest.fixture(scope="module")
def deals():
    """The set, one row a deal; `amount` in USD, `days` from the first day to the last, `quarter` of the last."""
    folder = DATA / "sales"
    deals = pd.read_csv(folder / "maven_sales_pipeline.csv.gz", parse_dates=["engage_date", "close_date"])
    deals["product"] = deals["product"].replace(SPELLED)
    deals = deals.merge(pd.read_csv(folder / "maven_sales_teams.csv"), on="sales_agent", how="left")
    deals = deals.merge(pd.read_csv(folder / "maven_products.csv"), on="product", how="left")
    deals["amount"] = deals["close_value"].fillna(deals["sales_price"]).astype(int)
    deals["days"] = (deals["close_date"] - deals["engage_date"]).dt.days
    deals["quarter"] = deals["close_date"].dt.to_period("Q").astype(str).str.replace("Q", "-Q")
    deals["month"] = deals["close_date"].dt.to_period("M").astype(str)
    return deals


def create(rest, collection, records):
    """Create records, by what the set calls them; returns their names."""
    return {called: rest("POST", collection, record)["name"] for called, record in records.items()}


class Loaded:
    """What the set became: names by what the set calls things."""

    def __init__(self, rest, deals):
        folder = DATA / "sales"
        products = pd.read_csv(folder / "maven_products.csv").set_index("product")["series"]
        accounts = pd.read_csv(folder / "maven_accounts.csv")["account"]
        self.products = create(
            rest,
            "products",
            {name: {"sku": name, "displayName": name, "family": series} for name, series in products.items()},
        )
        self.accounts = create(rest, "accounts", {name: {"displayName": name} for name in accounts})
        self.teams = create(rest, "teams", {name: {"displayName": name} for name in sorted(deals["manager"].unique())})
        people = {}
        for agent, manager in deals.groupby("sales_agent")["manager"].first().items():
            email = f"{uuid.uuid4().hex}@example.com"
            people[agent] = {"email": email, "displayName": agent, "teams": [self.teams[manager]]}
        self.agents = create(rest, "users", people)
        pipeline = {"displayName": "Hardware", "default": True, "stages": STAGES}
        self.pipeline = rest("POST", "pipelines", pipeline)["name"]
        rows = [self._row(deal) for deal in deals.to_dict("records")]
        self.deals = []
        for start in range(0, len(rows), BATCH):
            answer = rest("POST", "opportunities:import", {"requests": rows[start : start + BATCH]})
            self.deals += answer["opportunities"]

    def _row(self, deal):
        stage = deal["deal_stage"].lower()
        price = {"currencyCode": "USD", "units": deal["amount"]}
        opportunity = {
            "displayName": f"{deal['product']} {deal['opportunity_id']}",
            "stage": stage,
            "lines": [{"product": self.products[deal["product"]], "unitPrice": price}],
            "owner": self.agents[deal["sales_agent"]],
            "team": self.teams[deal["manager"]],
            "externalIds": [{"system": "maven", "key": deal["opportunity_id"]}],
        }
        if isinstance(deal["account"], str):
            opportunity["account"] = self.accounts[deal["account"]]
        row = {"opportunity": opportunity}
        if not pd.isna(deal["engage_date"]):
            began = deal["engage_date"].strftime("%Y-%m-%dT00:00:00Z")
            row |= {"openTime": began, "visits": [{"stage": "engaging", "enterTime": began}]}
        if not pd.isna(deal["close_date"]):
            ended = deal["close_date"].strftime("%Y-%m-%dT00:00:00Z")
            row["closeTime"] = ended
            row["visits"].append({"stage": stage, "enterTime": ended})
        return row


@pytest.fixture(scope="module")
def loaded(rest, deals):
    return Loaded(rest, deals)


def dollars(amounts):
    """Return the sum of amounts of money that are all in whole dollars."""
    assert all(amount["currencyCode"] == "USD" and "nanos" not in amount for amount in amounts)
    return sum(int(amount.get("units", 0)) for amount in amounts)


def groups(rest, *dimensions, **query):
    """Return the groups that the analysis makes, by their keys."""
    asked = {"groupBy": [f"DIMENSION_{name}" for name in dimensions], **query}
    return {tuple(group.get("keys", [])): group for group in rest("GET", "opportunities:analyze", **asked)["groups"]}


def test_everything_is_in(rest, loaded, deals):
    assert len(set(loaded.deals)) == len(deals) == 8800
    listed = rest("GET", "opportunities", filter="state = STATE_LOST", includeTotalSize=True, pageSize=1)
    assert listed["totalSize"] == (deals["deal_stage"] == "Lost").sum()
    first = deals.iloc[0]
    deal = rest("GET", loaded.deals[0])
    assert deal["openTime"] == first["engage_date"].strftime("%Y-%m-%dT00:00:00Z")
    assert deal["closeTime"] == first["close_date"].strftime("%Y-%m-%dT00:00:00Z")
    assert deal["lastOpenStage"] == "engaging"
    assert "account" not in rest("GET", loaded.deals[deals.index[deals["account"].isna()][0]])
    visits = rest("GET", f"{loaded.deals[0]}:listStageVisits")
    assert visits["visits"][0]["duration"] == f"{int(first['days']) * 86400}s"


def test_pipeline_by_stage(rest, loaded, deals):
    wanted = deals.groupby(deals["deal_stage"].str.lower())["amount"].agg(["size", "sum"])
    columns = rest("GET", f"{loaded.pipeline}:showBoard")["columns"]
    assert [column["stage"] for column in columns] == ["prospecting", "engaging", "won", "lost"]
    for column in columns:
        size, total = wanted.loc[column["stage"]]
        assert (column["count"], dollars(column["amounts"])) == (size, total)
        assert len(column["opportunities"]) == 50
    won = wanted.loc["won", "sum"]
    assert [dollars(column["weightedAmounts"]) for column in columns[2:]] == [won, 0]
    by_stage = groups(rest, "STAGE")
    assert {stage: group["count"] for (stage,), group in by_stage.items()} == wanted["size"].to_dict()


@pytest.mark.parametrize(
    ("dimension", "column", "names"),
    [
        ("OWNER", "sales_agent", "agents"),
        ("TEAM", "manager", "teams"),
        ("PRODUCT", "product", "products"),
        ("ACCOUNT", "account", "accounts"),
        ("CLOSE_QUARTER", "quarter", ""),
        ("CLOSE_MONTH", "month", ""),
    ],
)
class TestGroups:
    def test_won(self, rest, loaded, deals, dimension, column, names):
        won = deals[deals["deal_stage"] == "Won"]
        wanted = won.groupby(column, dropna=False)["amount"].agg(["size", "sum"])
        called = getattr(loaded, names) if names else {}
        found = groups(rest, dimension, filter="state = STATE_WON")
        assert {key: (group["wonCount"], dollars(group["wonAmounts"])) for (key,), group in found.items()} == {
            "" if pd.isna(name) else called.get(name, name): (size, total) for name, (size, total) in wanted.iterrows()
        }

    def test_win_rates_and_mean_cycle_times(self, rest, loaded, deals, dimension, column, names):
        closed = deals[deals["deal_stage"].isin(["Won", "Lost"])]
        won = closed["deal_stage"] == "Won"
        rates = won.groupby(closed[column], dropna=False).mean()
        days = closed.groupby(column, dropna=False)["days"].mean()
        days_to_win = closed[won].groupby(column, dropna=False)["days"].mean()
        called = getattr(loaded, names) if names else {}
        found = groups(rest, dimension, filter="state = STATE_WON OR state = STATE_LOST")
        assert len(found) == len(rates)
        for name, rate in rates.items():
            group = found["" if pd.isna(name) else called.get(name, name),]
            told = group["winRate"], group["meanCycleDays"], group["meanWonCycleDays"]
            assert told == (rate, days[name], days_to_win[name])


def test_won_by_manager_and_quarter(rest, loaded, deals):
    won = deals[deals["deal_stage"] == "Won"]
    wanted = won.groupby(["manager", "quarter"])["amount"].sum()
    found = groups(rest, "TEAM", "CLOSE_QUARTER", filter="state = STATE_WON")
    assert {keys: dollars(group["wonAmounts"]) for keys, group in found.items()} == {
        (loaded.teams[manager], quarter): total for (manager, quarter), total in wanted.items()
    }


def test_of_a_year(rest, loaded, deals):
    """A filter narrows down what is counted."""
    some = deals[(deals["close_date"] >= "2017-07-01") & (deals["close_date"] < "2017-10-01")]
    period = "close_time >= 2017-07-01T00:00:00Z AND close_time < 2017-10-01T00:00:00Z"
    (group,) = groups(rest, filter=period).values()
    assert (group["wonCount"], group["lostCount"]) == tuple(
        some["deal_stage"].value_counts()[stage] for stage in ("Won", "Lost")
    )
    assert group["meanCycleDays"] == some["days"].mean()
