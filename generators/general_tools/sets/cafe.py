"""Tables and pre-orders of a café."""

from typing import Annotated, Any, Literal

Day = Annotated[str, "The day, YYYY-MM-DD."]
Time = Annotated[str, "The time, HH:MM. Tables are given from 18:00 on, every half hour."]

STATE: dict[str, Any] = {
    "tables": {"T1": 2, "T2": 2, "T4": 4, "T5": 4, "T8": 8},
    "bookings": {
        "B101": {"table": "T1", "day": "2026-03-13", "time": "19:00", "guests": 2, "name": "Larsen", "order": {}},
        "B102": {"table": "T4", "day": "2026-03-13", "time": "19:00", "guests": 3, "name": "Mbeki", "order": {}},
        "B103": {"table": "T8", "day": "2026-03-14", "time": "20:00", "guests": 7, "name": "Ferrari", "order": {}},
        "B104": {"table": "T2", "day": "2026-03-15", "time": "18:30", "guests": 2, "name": "Petrov", "order": {}},
    },
    "menu": {
        "leek soup": {"price": 7.5, "course": "starter", "vegan": True, "contains": ["celery"]},
        "smoked trout": {"price": 11.0, "course": "starter", "vegan": False, "contains": ["fish"]},
        "walnut dumplings": {"price": 16.5, "course": "main", "vegan": False, "contains": ["nuts", "gluten", "milk"]},
        "lentil stew": {"price": 14.0, "course": "main", "vegan": True, "contains": ["celery", "mustard"]},
        "braised beef": {"price": 22.0, "course": "main", "vegan": False, "contains": ["celery"]},
        "plum cake": {"price": 6.0, "course": "dessert", "vegan": False, "contains": ["gluten", "milk", "eggs"]},
        "pear sorbet": {"price": 5.5, "course": "dessert", "vegan": True, "contains": []},
    },
    "next": 105,
}


def _free(table: str, day: str, time: str, besides: str = "") -> bool:
    return not any(
        (b["table"], b["day"], b["time"]) == (table, day, time)
        for key, b in STATE["bookings"].items()
        if key != besides
    )


def _booking(booking: str) -> Any:
    if booking not in STATE["bookings"]:
        raise ValueError(f"there is no booking {booking}")
    return STATE["bookings"][booking]


def find_tables(day: Day, time: Time, guests: Annotated[int, "How many people."]) -> list[dict[str, Any]]:
    """List the free tables that are large enough, the smallest first."""
    fitting = sorted((seats, table) for table, seats in STATE["tables"].items() if seats >= guests)
    return [{"table": table, "seats": seats} for seats, table in fitting if _free(table, day, time)]


def book_table(table: str, day: Day, time: Time, guests: int, name: str) -> dict[str, Any]:
    """Book a table.

    Args:
        table: The table's code, such as T4.
        guests: How many people.
        name: The name for the booking.
    """
    if table not in STATE["tables"]:
        raise ValueError(f"there is no table {table}")
    if guests > STATE["tables"][table]:
        raise ValueError(f"table {table} has {STATE['tables'][table]} seats")
    if not _free(table, day, time):
        raise ValueError(f"table {table} is taken on {day} at {time}")
    booking = f"B{STATE['next']}"
    STATE["next"] += 1
    STATE["bookings"][booking] = {
        "table": table, "day": day, "time": time, "guests": guests, "name": name, "order": {},
    }  # fmt: skip
    return {"booking": booking, "table": table}


def find_booking(name: Annotated[str, "The name on the booking."]) -> list[dict[str, Any]]:
    """Find bookings by name."""
    found = STATE["bookings"].items()
    return [{"booking": key, **b} for key, b in found if b["name"].casefold() == name.casefold()]


def move_booking(booking: Annotated[str, "The code, such as B101."], day: Day, time: Time) -> dict[str, Any]:
    """Move a booking to another day or time; the table stays the same."""
    found = _booking(booking)
    if not _free(found["table"], day, time, booking):
        raise ValueError(f"table {found['table']} is taken on {day} at {time}")
    found.update(day=day, time=time)
    return {"booking": booking, **found}


def cancel_booking(booking: Annotated[str, "The code, such as B101."]) -> dict[str, str]:
    """Cancel a booking."""
    _booking(booking)
    del STATE["bookings"][booking]
    return {"cancelled": booking}


def read_menu(
    course: Literal["starter", "main", "dessert", "all"] = "all",
    vegan_only: Annotated[bool, "Only vegan dishes."] = False,
) -> list[dict[str, Any]]:
    """Read the menu with prices in euros and allergens."""
    dishes = STATE["menu"].items()
    return [
        {"dish": dish, **d} for dish, d in dishes if course in ("all", d["course"]) and (d["vegan"] or not vegan_only)
    ]


def preorder(booking: Annotated[str, "The code, such as B101."], dish: str, portions: int) -> dict[str, Any]:
    """Order a dish in advance for a booking.

    Args:
        dish: The dish as the menu writes it.
        portions: How many; 0 takes the dish off the order.
    """
    found = _booking(booking)
    if dish not in STATE["menu"]:
        raise ValueError(f"{dish} is not on the menu")
    if not 0 <= portions <= 20:
        raise ValueError("between 0 and 20 portions")
    found["order"].pop(dish, None)
    if portions:
        found["order"][dish] = portions
    total = sum(STATE["menu"][one]["price"] * count for one, count in found["order"].items())
    return {"booking": booking, "order": found["order"], "total": total}
