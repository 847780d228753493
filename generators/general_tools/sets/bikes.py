"""Parts and repairs of a bicycle workshop."""

from typing import Annotated, Any, Literal

Part = Annotated[str, "The part's number, such as P-118."]
Repair = Annotated[str, "The repair's number, such as W55."]
Day = Annotated[str, "The day, YYYY-MM-DD."]

STATE: dict[str, Any] = {
    "parts": {
        "P-104": {"name": "brake pads", "fits": "disc brakes", "price": 18.9, "stock": 6},
        "P-109": {"name": "brake pads", "fits": "rim brakes", "price": 9.5, "stock": 14},
        "P-118": {"name": "chain", "fits": "11-speed", "price": 34.0, "stock": 2},
        "P-121": {"name": "chain", "fits": "8-speed", "price": 19.0, "stock": 0},
        "P-130": {"name": "inner tube", "fits": "28 inch", "price": 6.5, "stock": 40},
        "P-131": {"name": "inner tube", "fits": "20 inch", "price": 5.9, "stock": 11},
        "P-140": {"name": "pedal pair", "fits": "all", "price": 27.0, "stock": 3},
    },
    "repairs": {
        "W51": {
            "customer": "Castillo",
            "work": "gear adjustment",
            "state": "ready",
            "price": 25.0,
            "day": "2026-06-08",
        },
        "W53": {"customer": "Silva", "work": "brake service", "state": "booked", "price": 32.0, "day": "2026-06-12"},
        "W54": {
            "customer": "Yilmaz",
            "work": "new spokes",
            "state": "waiting for parts",
            "price": 48.0,
            "day": "2026-06-15",
        },
        "W55": {"customer": "Brandt", "work": "full service", "state": "in work", "price": 79.0, "day": "2026-06-10"},
    },
    "places": {"2026-06-10": 0, "2026-06-11": 2, "2026-06-12": 1, "2026-06-15": 4},
    "prices": {"flat tyre": 14.0, "gear adjustment": 25.0, "brake service": 32.0, "full service": 79.0},
    "next": 56,
}


def find_parts(name: Annotated[str, "What it is, such as chain or inner tube."]) -> list[dict[str, Any]]:
    """Search the parts by name: number, what they fit, price in euros, pieces in stock."""
    return [{"part": number, **p} for number, p in STATE["parts"].items() if name.casefold() in p["name"]]


def sell_part(part: Part, pieces: int) -> dict[str, Any]:
    """Lay pieces of a part aside for a customer and take them off the stock."""
    if part not in STATE["parts"]:
        raise ValueError(f"there is no part {part}")
    found = STATE["parts"][part]
    if not 1 <= pieces <= found["stock"]:
        raise ValueError(f"{found['stock']} pieces of {part} are in stock")
    found["stock"] -= pieces
    return {"part": part, "pieces": pieces, "total": round(pieces * found["price"], 2)}


def repair_status(repair: Repair) -> dict[str, Any]:
    """How far a repair is, what it costs and on which day it is due."""
    if repair not in STATE["repairs"]:
        raise ValueError(f"there is no repair {repair}")
    return {"repair": repair, **STATE["repairs"][repair]}


def free_places(day: Day) -> dict[str, Any]:
    """How many bicycles the workshop can still take on a day."""
    return {"day": day, "places": STATE["places"].get(day, 0)}


def book_repair(
    customer: str, work: Literal["flat tyre", "gear adjustment", "brake service", "full service"], day: Day
) -> dict[str, Any]:
    """Book a place in the workshop.

    Args:
        customer: The customer's last name.
        work: What is to be done.
    """
    if not STATE["places"].get(day, 0):
        raise ValueError(f"no place is free on {day}")
    STATE["places"][day] -= 1
    repair = f"W{STATE['next']}"
    STATE["next"] += 1
    price = STATE["prices"][work]
    STATE["repairs"][repair] = {"customer": customer, "work": work, "state": "booked", "price": price, "day": day}
    return {"repair": repair, "price": price}


def cancel_repair(repair: Repair) -> dict[str, str]:
    """Cancel a repair that hasn't begun."""
    state = repair_status(repair)["state"]
    if state not in ("booked", "waiting for parts"):
        raise ValueError(f"{repair} is {state}")
    STATE["places"][STATE["repairs"][repair]["day"]] += 1
    del STATE["repairs"][repair]
    return {"cancelled": repair}
