"""Connections and seats of a railway."""

from typing import Annotated, Any, Literal

Day = Annotated[str, "The day, YYYY-MM-DD."]
Train = Annotated[str, "The train's number, such as RX 214."]

STATE: dict[str, Any] = {
    "trains": {
        "RX 208": {"from": "Halden", "to": "Morvik", "departs": "07:12", "arrives": "09:40", "fare": 34.0, "seats": 3},
        "RX 214": {"from": "Halden", "to": "Morvik", "departs": "09:12", "arrives": "11:40", "fare": 29.0, "seats": 0},
        "RX 220": {"from": "Halden", "to": "Morvik", "departs": "13:12", "arrives": "15:40", "fare": 24.5, "seats": 12},
        "RX 301": {"from": "Morvik", "to": "Halden", "departs": "16:05", "arrives": "18:33", "fare": 29.0, "seats": 8},
        "RX 305": {"from": "Morvik", "to": "Halden", "departs": "19:05", "arrives": "21:33", "fare": 19.5, "seats": 20},
        "LB 17": {"from": "Halden", "to": "Sandby", "departs": "08:30", "arrives": "09:05", "fare": 8.0, "seats": 40},
        "LB 22": {"from": "Sandby", "to": "Halden", "departs": "17:45", "arrives": "18:20", "fare": 8.0, "seats": 40},
    },
    "delays": {"RX 220": 25, "LB 22": 5},
    "tickets": {
        "Q7731": {"train": "RX 208", "day": "2026-09-04", "seats": 1, "class": "standard"},
        "Q7745": {"train": "RX 305", "day": "2026-09-06", "seats": 2, "class": "standard"},
    },
    "found": [
        {"item": "umbrella", "colour": "green", "train": "LB 17", "office": "Halden"},
        {"item": "backpack", "colour": "grey", "train": "RX 301", "office": "Halden"},
        {"item": "glasses", "colour": "black", "train": "RX 214", "office": "Morvik"},
    ],
    "next": 7750,
}


def _train(train: str) -> Any:
    if train not in STATE["trains"]:
        raise ValueError(f"there is no train {train}")
    return STATE["trains"][train]


def find_trains(
    origin: Annotated[str, "Where the journey begins."],
    destination: Annotated[str, "Where it ends."],
    after: Annotated[str, "Only trains that depart at this time or later, HH:MM."] = "00:00",
) -> list[dict[str, Any]]:
    """List the daily direct trains between two towns, with fare per seat in euros and free seats."""
    return [
        {"train": number, **t}
        for number, t in STATE["trains"].items()
        if (t["from"], t["to"]) == (origin, destination) and t["departs"] >= after
    ]


def buy_ticket(
    train: Train, day: Day, seats: int = 1, comfort: Literal["standard", "first"] = "standard"
) -> dict[str, Any]:
    """Buy a ticket. First class costs half as much again.

    Args:
        seats: How many seats.
        comfort: The class of the seats.
    """
    found = _train(train)
    if not 1 <= seats <= found["seats"]:
        raise ValueError(f"{train} has {found['seats']} free seats")
    found["seats"] -= seats
    ticket = f"Q{STATE['next']}"
    STATE["next"] += 1
    STATE["tickets"][ticket] = {"train": train, "day": day, "seats": seats, "class": comfort}
    return {"ticket": ticket, "price": seats * found["fare"] * (1.5 if comfort == "first" else 1.0)}


def read_ticket(ticket: Annotated[str, "The ticket's code, such as Q7731."]) -> dict[str, Any]:
    """What a ticket is for."""
    if ticket not in STATE["tickets"]:
        raise ValueError(f"there is no ticket {ticket}")
    return {"ticket": ticket, **STATE["tickets"][ticket]}


def return_ticket(ticket: Annotated[str, "The ticket's code, such as Q7731."]) -> dict[str, Any]:
    """Give a ticket back; 80 percent of its price is refunded."""
    held = read_ticket(ticket)
    found = _train(held["train"])
    found["seats"] += held["seats"]
    del STATE["tickets"][ticket]
    factor = 1.5 if held["class"] == "first" else 1.0
    return {"returned": ticket, "refund": round(0.8 * held["seats"] * found["fare"] * factor, 2)}


def train_delay(train: Train) -> dict[str, Any]:
    """How many minutes late a train is today."""
    _train(train)
    return {"train": train, "minutes_late": STATE["delays"].get(train, 0)}


def lost_property(item: Annotated[str, "What was lost, in one word."]) -> list[dict[str, str]]:
    """Search what was found in trains."""
    return [found for found in STATE["found"] if found["item"] == item.casefold()]
