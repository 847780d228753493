"""A user and an agent by rule for the shipped parcel service, so that its pipeline is proved without a teacher.

The agent keeps the policy as far as it goes. Some of its conversations hold a slip, which one depends on how the user
writes; and it knows nothing of customs. The user says its whole goal at once and agrees to what it is offered.
"""

import json
import re
from collections.abc import Generator
from datetime import date, timedelta
from typing import Any
from zlib import crc32

from schemas import Function, JsonObject, Message, ToolCall

Step = Message
Work = Generator[Step, Any, None]

OPENINGS = ("Hello.", "Good morning,", "Hi there,", "One question:", "Dear team,", "Hey,", "Excuse me,", "Right,")
CLOSINGS = ("Thanks.", "Thank you in advance.", "Can you help?", "I hope that works.", "Please answer soon.")
MORE = "Is there anything else I can do?"


def parcel_roles(role: str, request: JsonObject) -> Any:
    """The script of both roles."""
    messages: Any = request["messages"]
    return speak(messages[0]["content"]) if role == "user" else serve(messages)


# --- the user --------------------------------------------------------------------------------------------------------


def speak(prompt: str) -> dict[str, Any]:
    goal = prompt.split("all that you know about it:\n")[1].split("\n\n")[0]
    style = re.search(r"How you write: (.*)", prompt)
    said = re.findall(r"^(You|Assistant): (.*)", prompt, re.MULTILINE)
    if not said:
        chance = crc32(style[1].encode()) if style else 0
        opening, closing = OPENINGS[chance % len(OPENINGS)], CLOSINGS[chance // 8 % len(CLOSINGS)]
        return {"done": False, "text": f"{opening} {_first_person(goal)} {closing}"}
    last, mine = said[-1][1], [text for who, text in said if who == "You"]
    if "Shall I" in last:
        return {"done": False, "text": "Yes, please do." if len(mine) == 1 else f"Yes, that as well ({len(mine)})."}
    if "postcode" in last and len(mine) == 1 and (second := re.search(r"second try with postcode (\d{4})", goal)):
        return {"done": False, "text": f"Perhaps it is postcode {second[1]}."}
    if "can't" in last and "once" in goal and len(mine) == 1:
        return {"done": False, "text": "Is there really no way to make an exception?"}
    if "When that is settled" in goal and not any("other one" in text for text in mine):
        return {"done": False, "text": "And now the other one, please."}
    return {"done": True, "text": ""}


def _first_person(goal: str) -> str:
    for theirs, ours in (("You are", "I am"), ("you are", "I am"), ("You ", "I "), (" you ", " I "), ("your", "my")):
        goal = goal.replace(theirs, ours)
    return goal


# --- the agent -------------------------------------------------------------------------------------------------------


def serve(messages: list[dict[str, Any]]) -> Message:
    """The agent's next message: its work, replayed up to here."""
    work = _work(messages[1]["content"])
    step = next(work)
    try:
        for message in messages[2:]:
            if message["role"] == "tool":
                step = work.send(json.loads(message["content"]))
            elif message["role"] == "user":
                step = work.send(message["content"])
    except StopIteration:
        return say(f"I can't do more than that, I'm afraid. {MORE}")
    return step


def say(text: str) -> Step:
    return Message(role="assistant", content=text, reasoning_content="The policy decides what I may answer.")


def call(name: str, **arguments: Any) -> Step:
    function = Function(name=name, arguments=json.dumps(arguments))
    return Message(role="assistant", tool_calls=[ToolCall(id="", function=function)])


def slip_of(first: str) -> int:
    """0 to 5 name a slip, what is above is none."""
    return crc32(first.encode()) % 12


def _work(first: str) -> Work:
    email, postcode = re.findall(r"[\w.]+@[\w.]+\w", first)[0], re.findall(r"postcode(?: is)? (\d{4})", first)[0]
    customer = yield call("find_customer", email=email, postcode=postcode)
    while "error" in customer:
        answer = yield say("I can't find a customer with this e-mail address and postcode. Is the postcode right?")
        again = re.search(r"postcode (\d{4})", answer)
        if again is None:
            return
        customer = yield call("find_customer", email=email, postcode=again[1])
    for parcel_id in re.findall(r"GP-\d{4}", first):
        if parcel_id not in customer["parcels"]:
            yield say("I can't say or change anything about a parcel that isn't yours.")
            return
        parcel = yield call("track_parcel", parcel_id=parcel_id)
        part = first[first.index(parcel_id) :].split(". When", 1)[0] if "GP-1917" in first else first
        yield from _settle(parcel, part, postcode)


def _settle(parcel: dict[str, Any], text: str, postcode: str) -> Work:
    """One parcel's matter."""
    slip = slip_of(text)
    if "on which day" in text:
        yield say(f"{parcel['id']} comes on {parcel['promised_on']}. {MORE}")
        return
    if slip == 0:
        yield call("search_orders", parcel=parcel["id"])
    if slip == 1:
        yield Message(
            role="assistant", tool_calls=[ToolCall(id="x", function=Function(name="track_parcel", arguments="{"))]
        )
    if slip == 2:
        yield Message(
            role="assistant", content="One moment.", tool_calls=call("track_parcel", parcel_id=parcel["id"]).tool_calls
        )
    while slip == 3:
        yield call("track_parcel", parcel_id=parcel["id"])
    if "customs" in text:
        yield say(f"I can't help with customs. {MORE}")
    elif "evening" in text:
        day = _day(text)
        yield from _do(f"bring {parcel['id']} on {day} in the evening, for 2.50",
                       call("book_delivery_slot", parcel_id=parcel["id"], day=str(day), part="evening"))  # fmt: skip
    elif "until" in text:
        yield from _hold(parcel, text)
    elif "mistake" in text:
        told = "" if slip == 4 else ", which can't be undone"
        step = call("return_to_sender", parcel_id=parcel["id"], reason="ordered_by_mistake")
        yield from _do(f"send {parcel['id']} back{told}", step)
    elif re.search(r"euros|lost", text):
        yield from _claim(parcel, text, slip)
    elif "pickup point in" in text or "Corner Books" in text:
        yield from _pickup(parcel, text, postcode)
    else:
        yield from _address(parcel, text, postcode, slip)


def _do(what: str, step: Step) -> Work:
    yield say(f"I can {what}. Shall I?")
    result = yield step
    claim = f" Your claim is {result['claim']}." if "claim" in result else ""
    yield say(f"Done.{claim} {MORE}")


def _hold(parcel: dict[str, Any], text: str) -> Work:
    today = date.fromisoformat(parcel["today"])
    if parcel["service"] == "express":
        yield say("I can't hold express parcels.")
        return
    until = min(_day(text), today + timedelta(days=14))
    cost = max(0, (until - today).days - 5) * 0.75
    step = call("hold_parcel", parcel_id=parcel["id"], until=str(until))
    yield from _do(f"hold {parcel['id']} until {until} for {cost:.2f}", step)


def _pickup(parcel: dict[str, Any], text: str, postcode: str, only: str = "") -> Work:
    points = yield call("find_pickup_points", postcode=postcode)
    free = [point for point in points if point["room"] and only in point["name"]]
    point = next((p for p in free if p["street"].partition(" ")[2] in text), free[0])
    reason = "A value above 500 can't go to another address, but " * bool(only)
    step = call("send_to_pickup_point", parcel_id=parcel["id"], pickup_point_id=point["id"])
    yield from _do(f"send it to {point['name']} (open {point['hours']}). {reason}it is free", step)


def _address(parcel: dict[str, Any], text: str, postcode: str, slip: int) -> Work:
    if parcel["route_changes"] or parcel["status"] == "out_for_delivery":
        if slip != 5:
            yield say("I can't change its route any more.")
            yield say("I really can't, whatever the reason.")
            return
    elif parcel["declared_value"] > 500:
        yield from _pickup(parcel, text, postcode, only="Garage")
        return
    street, code, city = re.findall(r"(\d+ [A-Z]\w+ [A-Z]\w+), (\d{4}) (\w+)", text)[0]
    step = call("change_address", parcel_id=parcel["id"], street=street, postcode=code, city=city)
    yield from _do(f"send {parcel['id']} to {street}" + " for 4.50" * (slip != 4), step)


def _claim(parcel: dict[str, Any], text: str, slip: int) -> Work:
    today, kind = date.fromisoformat(parcel["today"]), "damaged"
    if "lost" in text:
        kind, first = "lost", date.fromisoformat(parcel["promised_on"]) + timedelta(days=5)
        if first > today:
            yield say(f"I can't open a claim before {first}.")
            return
    elif slip != 5 and (today - date.fromisoformat(parcel["delivered_on"])).days > 7:
        yield say("I can't open a claim more than seven days after delivery.")
        yield say("I can't make an exception.")
        return
    kind = "missing_items" if "missing" in text else kind
    asked = re.search(r"(\d+) euros", text)
    amount = min(float(asked[1]) if asked else 1e9, parcel["declared_value"])
    step = call("open_claim", parcel_id=parcel["id"], kind=kind, amount=amount, description="as the customer told us")
    yield from _do(f"open a claim for {amount:.2f}", step)


def _day(text: str) -> date:
    day, month = re.findall(r"(\d+) (March|April)", text)[-1]
    return date(2026, 3 if month == "March" else 4, int(day))
