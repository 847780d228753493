"""Visits and records of a veterinary practice."""

from typing import Annotated, Any, Literal

Pet = Annotated[str, "The pet's number, such as A-7."]
Visit = Annotated[str, "The visit's number, such as V31."]
Day = Annotated[str, "The day, YYYY-MM-DD."]

STATE: dict[str, Any] = {
    "pets": {
        "A-3": {"name": "Mirko", "kind": "dog", "owner": "Sørensen", "kilos": 23.5, "allergies": ["penicillin"]},
        "A-7": {"name": "Pepper", "kind": "cat", "owner": "Tanaka", "kilos": 4.1, "allergies": []},
        "A-9": {"name": "Biscuit", "kind": "rabbit", "owner": "Gallo", "kilos": 1.8, "allergies": ["hay dust"]},
        "A-12": {"name": "Loki", "kind": "dog", "owner": "Tanaka", "kilos": 31.0, "allergies": []},
    },
    "vaccinations": {
        "A-3": {"rabies": "2024-11-02", "distemper": "2025-03-18"},
        "A-7": {"rabies": "2025-06-30"},
        "A-9": {"myxomatosis": "2025-09-12"},
        "A-12": {"rabies": "2023-10-05", "distemper": "2025-08-21"},
    },
    "slots": {
        "2026-10-27": ["09:00", "11:20", "16:40"], "2026-10-28": ["10:00"], "2026-10-29": [],
        "2026-10-30": ["08:20", "15:00"],
    },
    "visits": {
        "V31": {"pet": "A-3", "day": "2026-10-28", "time": "08:40", "reason": "check-up"},
        "V34": {"pet": "A-9", "day": "2026-10-30", "time": "09:20", "reason": "teeth"},
    },
    "prices": {"check-up": 42.0, "vaccination": 36.0, "teeth": 65.0, "castration": 190.0},
    "next": 35,
}  # fmt: skip


def find_pets(owner: Annotated[str, "The owner's last name."]) -> list[dict[str, Any]]:
    """Find an owner's pets: number, name, kind, weight in kilograms, allergies."""
    return [{"pet": number, **pet} for number, pet in STATE["pets"].items() if pet["owner"] == owner]


def read_vaccinations(pet: Pet) -> dict[str, Any]:
    """When a pet was last vaccinated against what."""
    if pet not in STATE["pets"]:
        raise ValueError(f"there is no pet {pet}")
    return {"pet": pet, "last": STATE["vaccinations"][pet]}


def free_slots(day: Day) -> dict[str, Any]:
    """The free times of a day."""
    return {"day": day, "times": STATE["slots"].get(day, [])}


def book_visit(
    pet: Pet, day: Day, time: Annotated[str, "HH:MM"], reason: Literal["check-up", "vaccination", "teeth", "castration"]
) -> dict[str, Any]:
    """Book a visit at a free time.

    Args:
        reason: What the pet comes for.
    """
    if pet not in STATE["pets"]:
        raise ValueError(f"there is no pet {pet}")
    if time not in STATE["slots"].get(day, []):
        raise ValueError(f"{time} on {day} is not free")
    STATE["slots"][day].remove(time)
    visit = f"V{STATE['next']}"
    STATE["next"] += 1
    STATE["visits"][visit] = {"pet": pet, "day": day, "time": time, "reason": reason}
    return {"visit": visit, "price": STATE["prices"][reason]}


def cancel_visit(visit: Visit) -> dict[str, str]:
    """Cancel a visit; its time becomes free."""
    if visit not in STATE["visits"]:
        raise ValueError(f"there is no visit {visit}")
    found = STATE["visits"].pop(visit)
    STATE["slots"][found["day"]] = sorted([*STATE["slots"][found["day"]], found["time"]])
    return {"cancelled": visit}


def price_of(service: Literal["check-up", "vaccination", "teeth", "castration"]) -> dict[str, Any]:
    """What a service costs, in euros."""
    return {"service": service, "price": STATE["prices"][service]}
