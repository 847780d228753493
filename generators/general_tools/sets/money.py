"""Reckoning with money: exchange, loans, savings, splitting a bill. There is no state."""

from typing import Annotated, Any, Literal

Currency = Literal["EUR", "USD", "GBP", "JPY", "CHF", "SEK"]
Percent = Annotated[float, "Interest per year in percent."]

STATE: dict[str, Any] = {"per_euro": {"EUR": 1.0, "USD": 1.1, "GBP": 0.85, "JPY": 160.0, "CHF": 0.95, "SEK": 11.2}}


def convert(amount: float, source: Currency, target: Currency) -> dict[str, Any]:
    """Convert an amount at today's rate.

    Args:
        source: The currency that you have.
        target: The currency that you want.
    """
    rates = STATE["per_euro"]
    return {"amount": round(amount / rates[source] * rates[target], 2), "currency": target}


def exchange_rate(source: Currency, target: Currency) -> dict[str, Any]:
    """What one unit of a currency is worth in another one today."""
    return {"rate": round(STATE["per_euro"][target] / STATE["per_euro"][source], 4)}


def loan_payment(amount: float, percent: Percent, years: int) -> dict[str, float]:
    """The monthly payment of a loan that is paid back in equal parts.

    Args:
        amount: What is borrowed.
        years: How long it runs.
    """
    if amount <= 0 or years < 1:
        raise ValueError("a loan has an amount and a duration above zero")
    months, rate = 12 * years, percent / 1200
    payment = amount / months if rate == 0 else amount * rate / (1 - (1 + rate) ** -months)
    return {"monthly": round(payment, 2), "total": round(round(payment, 2) * months, 2)}


def savings(start: float, monthly: float, percent: Percent, years: int) -> dict[str, float]:
    """What savings grow to, with interest added every month.

    Args:
        start: What is there at the beginning.
        monthly: What is added at the end of each month.
        years: For how long.
    """
    balance = start
    for _ in range(12 * years):
        balance = balance * (1 + percent / 1200) + monthly
    return {"balance": round(balance, 2)}


def split_bill(
    total: float, people: int, tip_percent: Annotated[float, "Added before splitting."] = 0
) -> dict[str, float]:
    """Split a bill evenly."""
    if people < 1:
        raise ValueError("at least one person pays")
    return {"each": round(total * (1 + tip_percent / 100) / people, 2)}
