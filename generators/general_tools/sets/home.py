"""The devices of a house."""

from typing import Annotated, Any, Literal

Room = Literal["kitchen", "living room", "bedroom", "study", "hall"]

STATE: dict[str, Any] = {
    "lights": {"kitchen": 80, "living room": 0, "bedroom": 0, "study": 100, "hall": 30},
    "heating": {"kitchen": 19.0, "living room": 20.5, "bedroom": 17.0, "study": 20.0, "hall": 16.0},
    "measured": {"kitchen": 20.1, "living room": 19.4, "bedroom": 17.2, "study": 21.8, "hall": 15.6},
    "blinds": {"kitchen": "open", "living room": "open", "bedroom": "closed", "study": "open"},
    "timers": {},
    "energy": {"2026-01-17": 14.2, "2026-01-18": 16.9, "2026-01-19": 11.4, "2026-01-20": 12.8},
    "next": 1,
}


def read_room(room: Room) -> dict[str, Any]:
    """What is on in a room: light in percent, heating and measured temperature in degrees Celsius, blinds."""
    return {
        "room": room, "light": STATE["lights"][room], "heating": STATE["heating"][room],
        "measured": STATE["measured"][room], "blinds": STATE["blinds"].get(room, "none"),
    }  # fmt: skip


def set_light(room: Room, percent: Annotated[int, "0 is off, 100 is the brightest."]) -> dict[str, Any]:
    """Set a room's light."""
    if not 0 <= percent <= 100:
        raise ValueError("between 0 and 100 percent")
    STATE["lights"][room] = percent
    return {"room": room, "light": percent}


def set_heating(room: Room, celsius: Annotated[float, "The temperature to reach."]) -> dict[str, Any]:
    """Set a room's heating."""
    if not 5 <= celsius <= 26:
        raise ValueError("between 5 and 26 degrees")
    STATE["heating"][room] = celsius
    return {"room": room, "heating": celsius}


def move_blinds(room: Room, to: Literal["open", "closed"]) -> dict[str, str]:
    """Open or close a room's blinds."""
    if room not in STATE["blinds"]:
        raise ValueError(f"the {room} has no blinds")
    STATE["blinds"][room] = to
    return {"room": room, "blinds": to}


def set_timer(label: str, minutes: int) -> dict[str, Any]:
    """Start a timer that rings in all rooms.

    Args:
        label: What it is for, in a word or two.
        minutes: From now.
    """
    if not 1 <= minutes <= 1440:
        raise ValueError("between 1 minute and 24 hours")
    timer = f"timer{STATE['next']}"
    STATE["next"] += 1
    STATE["timers"][timer] = {"label": label, "minutes": minutes}
    return {"timer": timer, "minutes": minutes}


def energy_used(day: Annotated[str, "The day, YYYY-MM-DD."]) -> dict[str, Any]:
    """How much electricity the house used on a day, in kilowatt hours."""
    if day not in STATE["energy"]:
        raise ValueError(f"nothing is recorded for {day}")
    return {"day": day, "kwh": STATE["energy"][day]}
