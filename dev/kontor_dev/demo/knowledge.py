"""Makes up what the demo company's service desk knows, and the queue that its tickets wait in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kontor.ticketing.v1 import article_pb2, queue_pb2
from kontor_dev.demo.desk import TEAM
from kontor_dev.demo.story import SYSTEM, Story

Call = Callable[..., Any]
Every = Callable[[str, str], Iterator[Any]]
Article = article_pb2.Article
Queue = queue_pb2.Queue

QUEUE: Final = "Service desk"
# What each of the desk's people can do, in the order in which they stand in the story.
SKILLS: Final = (("robots", "vision"), ("conveyors", "cabinets"))
RULES: Final = (
    Queue.SkillRule(skill="robots", tag="robot"),
    Queue.SkillRule(skill="conveyors", tag="conveyor"),
)


def _article(title: str, summary: str, body: str, sku: str, *keywords: str, **fields: Any) -> tuple[Article, str]:
    made = Article(title=title, summary=summary, body=body, keywords=keywords, language_code="en", **fields)
    return made, sku


# Articles with the product that they are about; what has no summary is not finished yet.
ARTICLES: Final = (
    _article(
        "Conveyor does not start after an emergency stop",
        "Release the stop, acknowledge it at the panel, and start the section by hand once.",
        "1. Release the emergency stop button.\n2. Acknowledge at the panel (**F2**).\n3. Start the section by hand.\n\n"
        "If the drive hums and does not turn, switch it off and call us.",
        "CV-400", "stands still", "halt", "panel", category="Conveyors", visibility=Article.VISIBILITY_PUBLIC,
    ),
    _article(
        "Robot drops parts",
        "Clean the vacuum filter and check the valve's voltage: below 22 V it closes too late.",
        "## Check\n- filter of the vacuum unit\n- voltage at the valve while it switches\n\nBelow 22 V, change the supply.",
        "RB-7", "gripper", "vacuum", category="Robots", visibility=Article.VISIBILITY_PUBLIC,
    ),
    _article(
        "Which lens for which distance",
        "16 mm up to one metre, 25 mm up to two and a half, 35 mm beyond.",
        "| distance | lens |\n|---|---|\n| 1 m | 16 mm |\n| 2.5 m | 25 mm |\n| 4 m | 35 mm |",
        "SC-1", "camera", "focal length", category="Vision", visibility=Article.VISIBILITY_PUBLIC,
    ),
    _article(
        "Palletiser loses its reference after a power cut",
        "The battery of the encoder is empty. Send it before the customer asks.",
        "Firmware before 4.2 does not warn. Replace the battery with the machine switched **on**.",
        "RB-9", "encoder", "battery", category="Robots", visibility=Article.VISIBILITY_INTERNAL,
    ),
    _article("Scratched doors: what we offer", "", "Ask sales first.", "CT-12", category="Cabinets"),
)  # fmt: skip


def bring(call: Call, every: Every, story: Story, products: Mapping[str, str], users: Mapping[str, str]) -> int:
    """Create what is missing, with `call`, beside what `every` lists; return how many articles there are."""
    queues, articles = "ticketing.v1.QueueService", "ticketing.v1.ArticleService"
    if QUEUE not in {each.display_name for each in every(f"{queues}.ListQueues", "queues")}:
        agents = [users[person.email] for person in story.people if person.team == TEAM]
        members = [
            Queue.Member(user=user, skills=skills, capacity=20) for user, skills in zip(agents, SKILLS, strict=True)
        ]
        queue = Queue(display_name=QUEUE, members=members, skill_rules=RULES, assignment=Queue.ASSIGNMENT_LEAST_LOADED)
        call(f"{queues}.CreateQueue", queue=queue)
    known = {key.key for each in every(f"{articles}.ListArticles", "articles") for key in each.external_ids}
    for number, (article, sku) in enumerate(ARTICLES):
        if (key := f"K-{number + 1}") in known:
            continue
        made = Article()
        made.CopyFrom(article)
        made.products.append(products[sku])
        made.external_ids.add(system=SYSTEM, key=key)
        name = call(f"{articles}.CreateArticle", article=made).name
        if made.summary:
            call(f"{articles}.PublishArticle", name=name)
    return len(ARTICLES)
