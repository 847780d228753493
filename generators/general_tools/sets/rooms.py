"""Meeting rooms and the directory of an office."""

from typing import Annotated, Any

Day = Annotated[str, "The day, YYYY-MM-DD."]
Room = Annotated[str, "The room's name, such as Birch."]

STATE: dict[str, Any] = {
    "rooms": {
        "Birch": {"seats": 4, "floor": 1, "screen": False},
        "Cedar": {"seats": 8, "floor": 1, "screen": True},
        "Maple": {"seats": 8, "floor": 3, "screen": True},
        "Walnut": {"seats": 20, "floor": 0, "screen": True},
    },
    "meetings": {
        "M210": {
            "room": "Cedar",
            "day": "2026-02-10",
            "start": 9,
            "end": 11,
            "title": "Budget",
            "people": ["E04", "E11"],
        },
        "M214": {"room": "Maple", "day": "2026-02-10", "start": 14, "end": 15, "title": "Hiring", "people": ["E07"]},
        "M219": {
            "room": "Walnut",
            "day": "2026-02-12",
            "start": 10,
            "end": 12,
            "title": "All hands",
            "people": ["E04", "E07"],
        },
    },
    "people": {
        "E04": {"name": "Ayo Balogun", "team": "finance", "extension": 4410},
        "E07": {"name": "Mira Kowalska", "team": "people", "extension": 4432},
        "E11": {"name": "Luis Ferreira", "team": "finance", "extension": 4417},
        "E15": {"name": "Hanna Virtanen", "team": "design", "extension": 4468},
    },
    "next": 220,
}


def find_rooms(
    day: Day,
    start: Annotated[int, "The hour at which it begins, 8 to 18."],
    end: Annotated[int, "The hour at which it ends."],
    seats: Annotated[int, "How many people must fit."] = 1,
    screen: Annotated[bool, "Only rooms with a screen."] = False,
) -> list[dict[str, Any]]:
    """List the rooms that are free, the smallest first."""
    if not 8 <= start < end <= 19:
        raise ValueError("the office is open from 8 to 19, and a meeting ends after it began")
    fitting = [
        {"room": name, **room}
        for name, room in STATE["rooms"].items()
        if room["seats"] >= seats and (room["screen"] or not screen) and not _taken(name, day, start, end)
    ]
    return sorted(fitting, key=lambda room: (room["seats"], room["room"]))


def _taken(room: str, day: str, start: int, end: int) -> bool:
    return any(
        meeting["room"] == room and meeting["day"] == day and meeting["start"] < end and start < meeting["end"]
        for meeting in STATE["meetings"].values()
    )


def book_room(room: Room, day: Day, start: int, end: int, title: str) -> dict[str, Any]:
    """Book a room for a meeting.

    Args:
        start: The hour at which it begins.
        end: The hour at which it ends.
        title: What the meeting is called.
    """
    if room not in STATE["rooms"]:
        raise ValueError(f"there is no room {room}")
    if not 8 <= start < end <= 19:
        raise ValueError("the office is open from 8 to 19, and a meeting ends after it began")
    if _taken(room, day, start, end):
        raise ValueError(f"{room} is taken at that time")
    meeting = f"M{STATE['next']}"
    STATE["next"] += 1
    STATE["meetings"][meeting] = {"room": room, "day": day, "start": start, "end": end, "title": title, "people": []}
    return {"meeting": meeting, "room": room}


def find_person(name: Annotated[str, "A first or last name."]) -> list[dict[str, Any]]:
    """Look somebody up in the directory: number, team, telephone extension."""
    return [
        {"person": number, **person}
        for number, person in STATE["people"].items()
        if name.casefold() in person["name"].casefold()
    ]


def invite(meeting: Annotated[str, "The meeting's number, such as M210."], person: str) -> dict[str, Any]:
    """Invite somebody to a meeting.

    Args:
        person: The person's number, such as E04.
    """
    if meeting not in STATE["meetings"]:
        raise ValueError(f"there is no meeting {meeting}")
    if person not in STATE["people"]:
        raise ValueError(f"there is no person {person}")
    people = STATE["meetings"][meeting]["people"]
    if person in people:
        raise ValueError(f"{person} is invited already")
    people.append(person)
    return {"meeting": meeting, "people": people}


def list_meetings(day: Day) -> list[dict[str, Any]]:
    """List the meetings of a day."""
    return [{"meeting": number, **m} for number, m in STATE["meetings"].items() if m["day"] == day]


def cancel_meeting(meeting: Annotated[str, "The meeting's number, such as M210."]) -> dict[str, str]:
    """Cancel a meeting and free its room."""
    if meeting not in STATE["meetings"]:
        raise ValueError(f"there is no meeting {meeting}")
    del STATE["meetings"][meeting]
    return {"cancelled": meeting}
