"""Articles: their way into use, who sees them, votes, search and suggestions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from kontor_kit.changes.sequencer import Sequencer
from kontor_ticketing.articles import rules
from kontor_ticketing.tables import metadata

READ, VOTE = "ticketing.articles.read", "ticketing.articles.vote"


def write(caller, title, *, publish=True, **fields):
    """Create an article, and put it into use."""
    article = caller("CreateArticle", article={"title": title, **fields})
    return caller("PublishArticle", name=article.name) if publish else article


def titles(response):
    return [result.article.title for result in response.results]


class TestStored:
    def test_comes_back_in_every_field_as_a_draft_for_the_company(self, anna):
        sent = {
            "title": " The printer does not print ",
            "summary": "Check the cable.",
            "body": "# Cable\n\n<b>Look</b> behind it.",
            "category": "Printers",
            "language_code": "de-ch",
            "keywords": ["paper jam"],
            "external_ids": [{"system": "wiki", "key": "17"}],
        }
        created = anna("CreateArticle", article=sent)
        assert anna("GetArticle", name=created.name) == created
        assert (created.title, created.language_code) == ("The printer does not print", "de-CH")
        assert (created.state, created.visibility) == (rules.DRAFT, rules.INTERNAL)
        for name in ("summary", "body", "category", "keywords"):
            assert getattr(created, name) == sent[name]

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            pytest.param({"title": " "}, "title", id="no-title"),
            pytest.param({"language_code": "?"}, "language_code", id="no-language"),
            pytest.param({"keywords": ["a", " "]}, "keywords[1]", id="no-keyword"),
            pytest.param({"products": ["products/x"]}, "products[0]", id="no-product"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateArticle", article={"title": "A", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"article.{path}"])

    def test_cannot_be_published_by_an_update(self, anna):
        article = write(anna, "A", publish=False)
        given = {"name": article.name, "title": "B", "state": rules.PUBLISHED}
        updated = anna("UpdateArticle", article=given, update_mask={"paths": ["*"]})
        assert updated.state == rules.DRAFT


class TestWay:
    def test_leads_into_use_out_of_it_and_back(self, anna):
        article = write(anna, "A", publish=False)
        published = anna("PublishArticle", name=article.name)
        assert published.state == rules.PUBLISHED
        assert anna("ArchiveArticle", name=article.name).state == rules.ARCHIVED
        again = anna("PublishArticle", name=article.name)
        assert (again.state, again.publish_time) == (rules.PUBLISHED, published.publish_time)

    def test_is_one_way_only(self, anna):
        draft, published = write(anna, "A", publish=False), write(anna, "B")
        assert anna.refusal("ArchiveArticle", name=draft.name).reason == "ARTICLE_NOT_PUBLISHED"
        assert anna.refusal("PublishArticle", name=published.name).reason == "ARTICLE_PUBLISHED"

    def test_needs_the_etag_that_the_article_has(self, anna):
        article = write(anna, "A", publish=False)
        assert anna.refusal("PublishArticle", name=article.name, etag="v7").code is StatusCode.ABORTED


@pytest.fixture
def shelf(anna):
    """One article of each kind, by kind."""
    kinds = {
        "draft": write(anna, "Router draft", publish=False, visibility=rules.PUBLIC, body="router"),
        "internal": write(anna, "Router internal", body="router"),
        "public": write(anna, "Router public", visibility=rules.PUBLIC, body="router"),
        "archived": write(anna, "Router archived", visibility=rules.PUBLIC, body="router"),
    }
    anna("ArchiveArticle", name=kinds["archived"].name)
    return kinds


SEEN = {
    "writer": ([f"{READ}:all", "ticketing.articles.update:own"], {"draft", "internal", "public", "archived"}),
    "agent": ([f"{READ}:all", f"{VOTE}:all"], {"internal", "public", "archived"}),
    "colleague": ([f"{READ}:team", f"{VOTE}:own"], {"internal", "public", "archived"}),
    "customer": ([f"{READ}:own", f"{VOTE}:own"], {"public"}),
}


@pytest.mark.parametrize("reader", SEEN)
class TestReaders:
    """The same articles on every path."""

    @pytest.fixture
    def who(self, anna, reader):
        return anna.colleague(*SEEN[reader][0], "ticketing.changes.read:all")

    def test_get_what_is_for_them(self, shelf, who, reader):
        for kind, article in shelf.items():
            if kind in SEEN[reader][1]:
                assert who("GetArticle", name=article.name).title == article.title
            else:
                assert who.refusal("GetArticle", name=article.name).code is StatusCode.NOT_FOUND
                assert who.refusal("BatchGetArticles", names=[article.name]).code is StatusCode.NOT_FOUND

    def test_list_count_and_filter_it(self, shelf, who, reader):
        names = {shelf[kind].name for kind in SEEN[reader][1]}
        for filter in ("", "visibility != VISIBILITY_UNSPECIFIED AND create_time > 2020-01-01T00:00:00Z"):
            page = who("ListArticles", filter=filter, include_total_size=True)
            assert {article.name for article in page.articles} == names
            assert page.total_size == len(names)
        drafts = who("ListArticles", filter="state = STATE_DRAFT", include_total_size=True)
        assert (len(drafts.articles), drafts.total_size) == ((1, 1) if "draft" in SEEN[reader][1] else (0, 0))

    @pytest.fixture
    def sequencer(self, server):
        return Sequencer(metadata, server.runtime.system)

    def test_find_it_and_are_told_of_its_changes_only(self, shelf, who, reader, sequencer):
        names = {shelf[kind].name for kind in SEEN[reader][1]}
        assert {result.article.name for result in who("SearchArticles", query="router").results} == names
        while sequencer.advance():
            pass
        assert {change.resource_name for change in who("ListChanges").changes} == names

    def test_are_suggested_what_is_published_of_it(self, shelf, who, reader):
        names = {shelf[kind].name for kind in SEEN[reader][1] & {"internal", "public"}}
        assert {result.article.name for result in who("SuggestArticles", query="my router").results} == names

    def test_vote_on_what_is_published_of_it(self, shelf, who, reader):
        for kind, article in shelf.items():
            refusal = None
            if reader == "writer":
                continue  # Has no right to vote.
            if kind in SEEN[reader][1] & {"internal", "public"}:
                assert who("VoteArticle", name=article.name, helpful=True).helpful_count == 1
                continue
            refusal = who.refusal("VoteArticle", name=article.name, helpful=True)
            known = kind in SEEN[reader][1]
            assert refusal.code is (StatusCode.FAILED_PRECONDITION if known else StatusCode.NOT_FOUND)


class TestSearch:
    def test_sees_through_typing_errors_accents_and_case(self, anna):
        article = write(anna, "Zugang zum Büro", keywords=["Schlüsselkarte"])
        write(anna, "Printer")
        for query in ("BURO", "schlusselkatre", "zugnag"):
            assert [result.article.name for result in anna("SearchArticles", query=query).results] == [article.name]

    def test_finds_the_best_for_a_reader_among_many_that_are_not_for_them(self, anna):
        for number in range(25):
            write(anna, f"Router draft {number}", publish=False)
        write(anna, "Router and more words", visibility=rules.PUBLIC)
        customer = anna.colleague(f"{READ}:own")
        assert titles(customer("SearchArticles", query="router", page_size=5)) == ["Router and more words"]


class TestVotes:
    def test_count_once_a_user_who_may_change_their_mind(self, anna):
        article = write(anna, "A")
        ben = anna.colleague(f"{READ}:all", f"{VOTE}:all")
        anna("VoteArticle", name=article.name, helpful=True)
        ben("VoteArticle", name=article.name, helpful=True)
        again = ben("VoteArticle", name=article.name, helpful=True)
        assert (again.helpful_count, again.unhelpful_count) == (2, 0)
        changed = ben("VoteArticle", name=article.name, helpful=False)
        assert (changed.helpful_count, changed.unhelpful_count) == (1, 1)

    def test_of_those_without_the_right_to_read_reach_what_is_for_them(self, shelf, anna):
        customer, colleague = (anna.colleague(f"{VOTE}:{reach}") for reach in ("own", "all"))
        assert customer.refusal("VoteArticle", name=shelf["internal"].name).code is StatusCode.NOT_FOUND
        assert customer("VoteArticle", name=shelf["public"].name, helpful=True).helpful_count == 1
        assert colleague("VoteArticle", name=shelf["internal"].name, helpful=True).helpful_count == 1

    def test_of_many_at_the_same_time_are_all_counted(self, anna):
        article = write(anna, "A")
        voters = [anna.colleague(f"{READ}:all", f"{VOTE}:all") for _ in range(12)]
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda voter: voter("VoteArticle", name=article.name, helpful=True), voters))
        assert anna("GetArticle", name=article.name).helpful_count == 12


class TestSuggestions:
    def test_rank_by_what_somebody_wrote_whatever_the_forms_of_the_words(self, anna):
        fits = write(anna, "Drucker druckt nicht", language_code="de", body="Papierstau beheben, Kabel prüfen.")
        partly = write(anna, "Kabel bestellen", language_code="de-AT", body="Im Lager.")
        english = write(anna, "Printing fails", language_code="en", body="Check the cables of printers.")
        write(anna, "Urlaub", language_code="de", body="Antrag stellen.")
        query = "Guten Tag, seit gestern drucken unsere Drucker nicht mehr, die Kabel sind geprüft."
        found = anna("SuggestArticles", query=query)
        assert [result.article.name for result in found.results] == [fits.name, partly.name]
        assert all(0 < result.score <= 1 for result in found.results)
        assert titles(anna("SuggestArticles", query="printed cable")) == [english.title]

    def test_follow_the_text_as_it_changes(self, anna):
        article = write(anna, "A", body="cable")
        anna("UpdateArticle", article={"name": article.name, "body": "router"})
        assert titles(anna("SuggestArticles", query="cable")) == []
        assert titles(anna("SuggestArticles", query="router")) == ["A"]
        anna("DeleteArticle", name=article.name)
        assert titles(anna("SuggestArticles", query="router")) == []

    def test_bear_a_text_without_any_space(self, anna):
        # PostgreSQL looks again from each of its characters to its end.
        article = write(anna, "A", body="a_" * 49_990 + " router")
        assert [result.article.name for result in anna("SuggestArticles", query="router").results] == [article.name]

    @pytest.mark.parametrize("query", ["", "!!! ???", "' | & ! \\ '' :*", "der die das"])
    def test_are_none_for_what_has_no_words(self, anna, query):
        write(anna, "Router", body="back \\ slash")
        if not query:
            assert [*anna.refusal("SuggestArticles", query=query).violations] == ["query"]
            return
        assert titles(anna("SuggestArticles", query=query)) == []

    def test_are_of_the_own_tenant_and_as_many_as_asked_for(self, anna, server):
        for number in range(3):
            write(anna, f"Router {number}", body="x")
        assert len(anna("SuggestArticles", query="router", page_size=2).results) == 2
        assert titles(server.caller()("SuggestArticles", query="router")) == []
        masked = anna("SuggestArticles", query="router", page_size=1, read_mask={"paths": ["title"]}).results[0]
        assert (bool(masked.article.title), masked.article.state) == (True, 0)
