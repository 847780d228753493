"""A domain that nobody here wrote, tau2-bench's retail: its gold actions replay, and nothing else is accepted."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from generators.conversational_tools.domain import Domain, Service
from generators.conversational_tools.lint import lint
from generators.conversational_tools.scenario import Action, Scenario, check_outcome
from gristmill.tools.checks import ToolSet
from schemas import Function, ToolCall, assistant, canonical_json
from tests.tau2_retail import retail

pytestmark = pytest.mark.shared

ASKED_FOR = {  # the errors that the data wants
    "find_user_id_by_email": {"task_35", "task_37", "task_38", "task_54", "task_55"},
    "find_user_id_by_name_zip": {"task_39", "task_67", "task_68"},
    "get_order_details": {"task_46", "task_47"},
    "get_product_details": {"task_2", "task_3", "task_4"},
    "exchange_delivered_order_items": {"task_64"},  # of a pending order
}


@pytest.fixture(scope="module")
def domain() -> Domain:
    return retail(Path(os.environ["GRISTMILL_SHARED"]) / "tools" / "tau2" / "retail")


@pytest.fixture(scope="module")
def ends(domain: Domain) -> dict[str, list[str]]:
    """What each task's gold actions change."""
    return {scenario.id: domain.end(scenario) for scenario in domain.scenarios.values()}


def replay(domain: Domain, scenario: Scenario, actions: list[Action]) -> tuple[list[str], Service]:
    with Service.open(domain, scenario) as service:
        for action in actions:
            service.perform(action.name, action.arguments)
        return service.changed(), service


def test_gold_actions_replay(domain: Domain, ends: dict[str, list[str]]) -> None:
    rules = ToolSet(domain.specs())
    refused: dict[str, set[str]] = {}
    for scenario in domain.scenarios.values():
        for action in scenario.actions:
            written = Function(name=action.name, arguments=canonical_json(action.arguments).decode())
            assert not rules.check(ToolCall(id="call_0", function=written))
        changed, service = replay(domain, scenario, scenario.actions)
        assert changed == ends[scenario.id], "a second replay leaves another state"
        told = [assistant(" ".join(fact[0] for fact in scenario.must_tell))]
        assert check_outcome(scenario, ends[scenario.id], changed, service.calls, told).fault() is None
        for done in service.calls:
            if done.refused:
                refused.setdefault(done.name, set()).add(scenario.id)
    assert refused == ASKED_FOR
    assert len(domain.scenarios) == 114
    assert sum(bool(scenario.actions) for scenario in domain.scenarios.values()) == 112
    assert sum(bool(end) for end in ends.values()) == 104


def test_any_other_end_fails(domain: Domain, ends: dict[str, list[str]]) -> None:
    """Each write dropped, and each of its arguments changed to another plausible value: at least 98 % are noticed."""
    rng = Random(0)
    survived, tried = [], 0
    for scenario in domain.scenarios.values():
        for changed_actions, what in mutants(domain, scenario, rng):
            changed, service = replay(domain, scenario, changed_actions)
            tried += 1
            silent = scenario.model_copy(update={"must_tell": []})
            if check_outcome(silent, ends[scenario.id], changed, service.calls, []).fault() is None:
                survived.append(f"{scenario.id}: {what}")
    assert tried > 700
    assert len(survived) <= 0.02 * tried, survived
    assert {name.partition(":")[0] for name in survived} == {"task_22"}  # which overwrites its own first write


def mutants(domain: Domain, scenario: Scenario, rng: Random) -> Iterator[tuple[list[Action], str]]:
    """(actions, what was done to them), for the actions that change something."""
    with Service.open(domain, scenario) as service:
        before: list[str] = []
        for place, action in enumerate(scenario.actions):
            service.perform(action.name, action.arguments)
            if (after := service.changed()) == before:
                continue
            before = after
            rest = scenario.actions
            yield [*rest[:place], *rest[place + 1 :]], f"{action.name} dropped"
            for name, value in action.arguments.items():
                other = another(domain, name, value, rng)
                if other != value:
                    changed = Action(name=action.name, arguments={**action.arguments, name: other})
                    yield [*rest[:place], changed, *rest[place + 1 :]], f"{action.name}: {name} {value} became {other}"


def another(domain: Domain, name: str, value: Any, rng: Random) -> Any:
    """Another value that an agent might have put there: of the data, and where possible of the same kind."""
    rows = domain.start().rows()
    if name == "reason":
        return "ordered by mistake" if value == "no longer needed" else "no longer needed"
    if name in ("order_id", "user_id"):
        table = name.removesuffix("_id") + "s"
        ids = [row["id"] for place, row in rows.items() if place.startswith(table)]
        return rng.choice([key for key in ids if key != value])
    if name == "payment_method_id":
        users = [row["doc"] for place, row in rows.items() if place.startswith("users[")]
        owned = next(user["payment_methods"] for user in users if value in user["payment_methods"])
        return next((method for method in owned if method != value), "paypal_0000001")
    if isinstance(value, list):
        products = [row["doc"] for place, row in rows.items() if place.startswith("products[")]
        product = next(product for product in products if value[-1] in product["variants"])
        free = [key for key, variant in product["variants"].items() if variant["available"] and key != value[-1]]
        return [*value[:-1], rng.choice(free)]
    return f"{value} B" if value else "Suite 1"


def test_lint_reads_a_foreign_policy(domain: Domain) -> None:
    """It agrees with its tools; with a tool renamed, or a rule taken out, it doesn't."""
    without_tasks = Domain(domain.name, domain.policy, domain.tools, domain.image, {})
    assert lint(without_tasks) == []
    assert not [finding.text for finding in lint(domain) if finding.text.startswith("policy.md")]
    silent = "\n".join(line for line in domain.policy.splitlines() if "cancel" not in line.lower())
    found = [finding.text for finding in lint(Domain("retail", silent, domain.tools, domain.image, domain.scenarios))]
    assert "policy.md says nothing on when to use cancel_pending_order, which changes the state" in found
    naming = domain.policy + "\nUse `cancel_order` for that.\n"
    found = [finding.text for finding in lint(Domain("retail", naming, domain.tools, domain.image, {}))]
    line = len(naming.splitlines())
    assert found == [f"policy.md:{line} names `cancel_order`, which is no tool (did you mean `cancel_pending_order`?)"]
