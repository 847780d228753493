"""What all checks share: the plan's facts, the reading, the orders heard, and the problems found so far."""

from dataclasses import dataclass, field

from generators.text_to_sql.grammar.plan import Order
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import ColumnKey
from generators.text_to_sql.paraphrase.orders import Orders
from generators.text_to_sql.paraphrase.reading import Reading


@dataclass
class Evidence:
    facts: Facts
    reading: Reading
    orders: Orders
    problems: list[str] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    """Where literals stand that the plan accounts for."""
    locked: set[int] = field(default_factory=set)
    """Where columns stand that only say what a condition is about: "with a fee above 50"."""
    implied: set[ColumnKey] = field(default_factory=set)
    """Columns that need no name, as a literal can be about nothing else: "Bruges", "50 kg", the only date."""

    def use(self, mention: Mention) -> None:
        self.used.add(mention.start)

    def unused(self, mentions: list[Mention]) -> list[Mention]:
        return [mention for mention in mentions if mention.start not in self.used]

    def ordering(self) -> tuple[Order, ...]:
        """The orders of the plan, those within its groups included."""
        plan = self.facts.plan
        return (*plan.order, *(plan.top.order if plan.top else ()))
