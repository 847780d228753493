"""Riddles of the bundled graph: that each has one answer, names nothing hidden, and needs all of its hops."""

import asyncio
import re
from collections import Counter
from random import Random

import pytest

from generators.search_riddles.making import SAME_FACT, Made
from generators.search_riddles.names import Text
from generators.search_riddles.pages import url_of
from generators.search_riddles.riddles import FIRST, Fact, Riddle, RiddleLimits, leaked, reached, uniqueness
from generators.search_riddles.sparql.queries import short
from generators.search_riddles.vocabulary import known_kinds
from generators.search_riddles.walks import Lost, Walk, WalkLimits
from generators.search_riddles.wording import SHAPES, Constraint, Wording
from gristmill.text.diversity import SAMPLE, diversity
from tests.riddle_world import WANTED, World

pytestmark = pytest.mark.riddles


def test_as_many_are_made_as_wanted_evenly_over_lengths_and_classes(riddles_made: Made) -> None:
    riddles = riddles_made.riddles
    hops, classes = Counter(one.hops for one in riddles), Counter(one.answer.kind for one in riddles)
    assert len(riddles) == WANTED and len({one.question for one in riddles}) == WANTED
    assert set(hops) == {4, 5, 6, 7, 8} and min(hops.values()) >= 0.1 * WANTED
    assert len(classes) >= 15 and max(classes.values()) <= 0.2 * WANTED
    assert max(Counter(one.answer.iri for one in riddles).values()) <= 2
    assert riddles_made.drawn == len(riddles) + len(riddles_made.losses)


async def test_the_stored_query_has_the_stored_answer_and_no_other(riddle_world: World, riddles_made: Made) -> None:
    for riddle in riddles_made.riddles:
        rows = await riddle_world.endpoint.select(riddle.sparql)
        assert [row["answer"] for row in rows] == [riddle.answer.iri], riddle.question


async def test_what_is_said_further_along_is_not_enough(riddle_world: World, riddles_made: Made) -> None:
    """Else the walk would be longer than the way that a solver has to go. The query is cut at the first entity."""
    further = [
        one for one in riddles_made.riddles if {one.entities[0].id} != {_about(fact, one) for fact in one.constraints}
    ]
    assert further
    for riddle in further:
        kept = [line for line in riddle.sparql.splitlines() if "?e0" not in line]
        rows = await riddle_world.endpoint.select("\n".join(kept))
        assert len(rows) > 1, riddle.question


def _about(fact: Fact, riddle: Riddle) -> str:
    """The hidden entity that a constraint is about."""
    return next(one.id for one in riddle.entities if one.id in (fact.subject, fact.object))


def test_no_question_names_a_hidden_entity(riddles_made: Made) -> None:
    for riddle in riddles_made.riddles:
        said = Text(riddle.question)
        for one in riddle.entities:
            assert not said.first_of([one.label, *one.aliases]), riddle.question
        assert all(said.mentions(anchor) for anchor in riddle.anchors), riddle.question
        assert riddle.anchors and len(riddle.anchors) == len(riddle.constraints)


def test_questions_are_one_or_two_clean_sentences(riddles_made: Made) -> None:
    for riddle in riddles_made.riddles:
        question = riddle.question
        for name in riddle.anchors:
            question = question.replace(name, "X")
        assert len(re.findall(r"[.?](?= [A-Z]|$)", question)) in (1, 2), riddle.question
        assert not re.search(r"[{}]|\ba [aeio]|\ban [bcdfgjklmnpqrstvwxz]|  |the (?:a|some|an) ", question), question
        assert riddle.draft.endswith("?") and riddle.entities[0].label in riddle.draft


def test_the_questions_text_does_not_find_the_answer(riddle_world: World, riddles_made: Made) -> None:
    for riddle in riddles_made.riddles:
        found = [page.url for page in riddle_world.index.find(riddle.question, FIRST)]
        assert url_of(riddle.answer.iri) not in found, riddle.question


def test_there_are_five_distractors_for_each_relevant_page(riddle_world: World, riddles_made: Made) -> None:
    relevant = {url_of(one.iri) for riddle in riddles_made.riddles for one in riddle.entities}
    addresses = {page.url for page in riddle_world.pages}
    assert len(addresses) == len(riddle_world.pages) and relevant <= addresses
    assert len(addresses) - len(relevant) >= 5 * len(relevant)


def test_the_same_seed_gives_the_same_riddles(riddle_world: World, riddles_made: Made) -> None:
    again, other = riddle_world.make(12), riddle_world.make(12, seed=1)
    assert again.riddles == riddles_made.riddles[:12]
    assert {one.question for one in other.riddles}.isdisjoint(one.question for one in again.riddles)


async def test_following_in_memory_says_what_the_query_says(riddle_world: World) -> None:
    """Walks with any constraints, ambiguous ones too: two ways to the same answers."""
    walker, maker, rng = riddle_world.walker(), riddle_world.maker(), Random(5)
    starts = sorted(one for one, entity in riddle_world.graph.entities.items() if entity.links > 8)
    compared = Counter[int]()
    for _ in range(400):
        try:
            walk = await walker.walk(rng.choice(starts), rng.randint(1, 6), rng)
        except Lost:
            continue
        offers = [offer for offered in maker._offers(walk, rng) for offer in offered]
        constraints = rng.sample(offers, min(len(offers), rng.randint(0, 3)))
        rows = await riddle_world.endpoint.select(uniqueness(walk, constraints).replace("LIMIT 20", ""))
        found = reached(riddle_world.graph, walk, constraints, most=10**6)
        assert found == sorted(row["answer"] for row in rows)
        compared[min(3, len(found))] += 1
    assert sum(compared.values()) >= 80 and compared[1] >= 5 and compared[3] >= 20


@pytest.mark.parametrize("reason", ["stop_node", "fan_out", "there_and_back", "generic_answer", "class_full"])
def test_walks_are_lost_for_reasons_that_have_a_name(riddle_world: World, reason: str) -> None:
    lands = [one.label for one in riddle_world.graph.entities.values() if "Q6256" in "".join(one.classes)]
    limits = {
        "stop_node": WalkLimits(stop=lands),
        "fan_out": WalkLimits(most_siblings=1),
        "there_and_back": WalkLimits(),
        "generic_answer": WalkLimits(answer_links=6),
        "class_full": WalkLimits(answer_share=0.01),
    }[reason]
    made = riddle_world.make(25, limits=limits)
    assert reason in {str(loss["reason"]) for loss in made.losses}
    if reason == "stop_node":
        assert not {one.label for riddle in made.riddles for one in riddle.entities} & set(limits.stop)


def test_walks_are_simple_and_of_the_length_asked_for(riddles_made: Made) -> None:
    for riddle in riddles_made.riddles:
        assert len({one.iri for one in riddle.entities}) == riddle.hops + 1 == len(riddle.facts) + 1
        for fact, one, other in zip(riddle.facts, riddle.entities, riddle.entities[1:], strict=False):
            assert {fact.subject, fact.object} == {one.id, other.id}


async def test_an_answer_set_may_be_wider(riddle_world: World, riddles_made: Made) -> None:
    """All answers are stored, the walk's first, and none of them is named."""
    walker, rng, wide = riddle_world.walker(), Random(3), list[Riddle]()
    maker = riddle_world.maker(RiddleLimits(answers=4, one_search=False))
    starts = sorted(one for one, entity in riddle_world.graph.entities.items() if entity.links > 8)
    while len(wide) < 5:
        try:
            riddle = await maker.riddle(await walker.walk(rng.choice(starts), 4, rng), rng)
        except Lost:
            continue
        assert riddle.answers[0] == riddle.answer and len(riddle.answers) <= 4
        said = Text(riddle.question)
        assert not any(said.first_of([one.label, *one.aliases]) for one in riddle.answers)
        wide += [riddle] if len(riddle.answers) > 1 else []
    leak = leaked(wide[0], f"Is it {wide[0].answers[1].label}?")
    assert leak and leak[0] == "answer_leak"


def test_leaks_are_found_in_every_spelling(riddles_made: Made) -> None:
    riddle = riddles_made.riddles[0]
    hidden = riddle.entities[1].model_copy(update={"label": "Łódź Film School", "aliases": ["Filmówka", "US"]})
    answer = riddle.answer.model_copy(update={"label": "São Tomé", "aliases": ["NO"]})
    riddle = riddle.model_copy(update={"entities": [riddle.entities[0], hidden, answer]})
    leaks = {
        "Who went to LODZ FILM-SCHOOL?": "intermediate_leak",
        "Who went to the filmowka?": "intermediate_leak",
        "Which island is Sao Tomé?": "answer_leak",
        "It has the code NO, which is it?": "answer_leak",
    }
    for question, reason in leaks.items():
        found = leaked(riddle, question)
        assert found and found[0] == reason, question
    assert leaked(riddle, "Which island has no harbour and let us go?") is None
    mexico = hidden.model_copy(update={"label": "Mexico", "aliases": []})
    found = leaked(riddle.model_copy(update={"entities": [mexico, answer]}), "Which Mexican film is it?")
    assert found and found[0] == "name_hint"


async def test_every_relation_of_every_class_can_be_said(riddle_world: World) -> None:
    """A question of each shape for 100 walks; nothing is left to be filled in."""
    walker, rng, said = riddle_world.walker(), Random(2), 0
    starts = sorted(one for one, entity in riddle_world.graph.entities.items() if entity.links > 4)
    while said < 100:
        try:
            walk = await walker.walk(rng.choice(starts), 4, rng)
        except Lost:
            continue
        wording = Wording(riddle_world.graph, riddle_world.vocabulary, walk, rng)
        for question in (wording.riddle([], shape) for shape in SHAPES):
            assert "{" not in question and question[0].isupper() and question[-1] in ".?"
        said += 1


def test_a_constraint_is_told_at_its_entity(riddle_world: World) -> None:
    labelled = {entity.label: one for one, entity in riddle_world.graph.entities.items()}
    aida, verdi, cyprus = labelled["Aida"], labelled["Giuseppe Verdi"], labelled["Cyprus"]
    step = next(step for step in riddle_world.graph.around[aida] if step.other == verdi)
    kinds = {kind.name: kind for kind in known_kinds()}
    walk = Walk((aida, verdi), (step,), (kinds["opera"], kinds["composer"]))
    told = Constraint(0, step._replace(other=cyprus))
    wording = Wording(riddle_world.graph, riddle_world.vocabulary, walk, Random(0))
    assert re.search(rf"(?:{'|'.join(kinds['opera'].nouns)}) [\w ]+ Cyprus", wording.riddle([told], "nested"))


def test_a_graph_without_hubs_is_refused_with_a_sentence(riddle_world: World) -> None:
    from gristmill.errors import GristmillError

    with pytest.raises(GristmillError, match="hub_links"):
        riddle_world.make(1, limits=WalkLimits(hub_links=10**6))


def test_the_world_can_be_asked_from_any_loop(riddle_world: World) -> None:
    assert len(asyncio.run(riddle_world.endpoint.select("SELECT ?s WHERE { ?s ?p ?o } LIMIT 3"))) == 3


def test_the_questions_are_as_varied_as_those_of_people(riddle_world: World) -> None:
    """The aims of gristmill/text/diversity.py, over as many texts as it samples."""
    figures = diversity([one.question for one in riddle_world.make(SAMPLE).riddles])
    assert figures["distinct_3"] >= 0.45 and figures["self_bleu_4"] <= 0.70 and figures["neighbour"] <= 0.35, figures


def test_no_statement_is_in_many_walks(riddles_made: Made) -> None:
    walked = Counter((fact.subject, fact.property, fact.object) for one in riddles_made.riddles for fact in one.facts)
    assert max(walked.values()) <= SAME_FACT * WANTED + 1


def test_what_many_share_is_no_hop(riddles_made: Made) -> None:
    """A country is in more organisations and regions than any graph states, so these lead nowhere for certain."""
    hops = {(fact.property, one.kind) for riddle in riddles_made.riddles
            for fact, *ends in zip(riddle.facts, riddle.entities, riddle.entities[1:], strict=False)
            for one in ends if one.id == fact.subject}  # fmt: skip
    assert not {("P463", "country"), ("P361", "country")} & hops and ("P17", "city") in hops


def test_a_constraint_tells_more_than_the_class(riddles_made: Made) -> None:
    """No `physicist who worked as a physicist`; and the start, where a solver begins, always has one."""
    works = {kind.name: short(kind.work) for kind in known_kinds() if kind.work}
    for riddle in riddles_made.riddles:
        for fact in riddle.constraints:
            one = next(one for one in riddle.entities if one.id in (fact.subject, fact.object))
            assert fact.property != "P106" or works.get(one.kind) != fact.object, riddle.question
        assert riddle.entities[0].id in {_about(fact, riddle) for fact in riddle.constraints}, riddle.question


async def test_what_is_called_by_its_relation_alone_is_unique_without_its_class(
    riddle_world: World, riddles_made: Made
) -> None:
    """`The author of ...` doesn't say `novelist`, so no other author may lead to another answer."""
    called = [one for one in riddles_made.riddles if re.search(r"the (?:author|composer|director) of ", one.question)]
    assert called
    for riddle in called:
        kept = [line for line in riddle.sparql.splitlines() if "P31" not in line and "P106" not in line]
        rows = await riddle_world.endpoint.select("\n".join(kept))
        assert [row["answer"] for row in rows] == [riddle.answer.iri], riddle.question


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("1924 Summer Olympics", "was held in France"),
        ("Nobel Prize in Physics", "is conferred in Sweden"),
        ("Mangalyaan", "is a project of India"),
        ("Aida", "was composed by Giuseppe Verdi"),
        ("Casablanca", "has music by Max Steiner"),
    ],
)
def test_a_relation_is_said_as_fits_its_subject(riddle_world: World, subject: str, said: str) -> None:
    assert any(f"{subject} {said}." in page.text for page in riddle_world.pages if page.title == subject)
