"""The tools of Fennick Parcel Service. They refuse what can't be done; what may be done is the policy's matter."""

from datetime import date
from sqlite3 import Connection
from typing import Annotated, Any, Literal

from pydantic import Field

ParcelId = Annotated[str, Field(pattern=r"^GP-\d{4}$", description="Such as GP-1042.")]
PickupPointId = Annotated[str, Field(pattern=r"^PP-\d{2}$", description="Such as PP-11, from find_pickup_points.")]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="Such as 2026-03-20.")]
Postcode = Annotated[str, Field(pattern=r"^\d{4}$", description="Four digits.")]
Street = Annotated[str, Field(description="Street and number, such as 9 Weir Street.")]

NEW_ADDRESS = 4.50
EVENING = 2.50
FREE_DAYS, PER_DAY = 5, 0.75


def find_customer(
    db: Connection, email: Annotated[str, Field(description="The address that is on the account.")], postcode: Postcode
) -> dict[str, Any]:
    """Looks up the customer with this e-mail address and this postcode, with their parcels and today's date."""
    found = db.execute(
        "SELECT id, name FROM customers WHERE lower(email) = lower(?) AND postcode = ?", (email.strip(), postcode)
    ).fetchone()
    if found is None:
        raise ValueError("no customer has this e-mail address and this postcode")
    parcels = db.execute("SELECT id FROM parcels WHERE customer_id = ? ORDER BY id", (found["id"],))
    return {"customer_id": found["id"], "name": found["name"], "parcels": [row["id"] for row in parcels],
            "today": str(_today(db))}  # fmt: skip


def track_parcel(db: Connection, parcel_id: ParcelId) -> dict[str, Any]:
    """All about a parcel: whose it is, where it is, its promised day, declared value, charges and claim."""
    parcel = _parcel(db, parcel_id)
    charges = db.execute("SELECT reason, amount FROM charges WHERE parcel_id = ? ORDER BY reason", (parcel_id,))
    claim = db.execute("SELECT kind, amount, opened_on FROM claims WHERE parcel_id = ?", (parcel_id,)).fetchone()
    known = {key: value for key, value in parcel.items() if value is not None}
    return {**known, "charges": [dict(row) for row in charges], "claim": dict(claim) if claim else None,
            "today": str(_today(db))}  # fmt: skip


def find_pickup_points(db: Connection, postcode: Postcode) -> list[dict[str, Any]]:
    """The pickup points in the area of a postcode, with their hours and how many parcels they have room for."""
    near = db.execute("SELECT * FROM pickup_points WHERE postcode LIKE ? ORDER BY id", (postcode[:2] + "%",))
    return [dict(row) for row in near]


def change_address(
    db: Connection, parcel_id: ParcelId, street: Street, postcode: Postcode, city: str
) -> dict[str, Any]:
    """Sends a parcel to another address of the customer. Costs 4.50."""
    _on_its_way(db, parcel_id)
    db.execute(
        "UPDATE parcels SET street = ?, postcode = ?, city = ?, pickup_point_id = NULL, "
        "route_changes = route_changes + 1 WHERE id = ?",
        (street.strip(), postcode, city.strip(), parcel_id),
    )
    return _charged(db, parcel_id, "new address", NEW_ADDRESS)


def send_to_pickup_point(db: Connection, parcel_id: ParcelId, pickup_point_id: PickupPointId) -> dict[str, Any]:
    """Sends a parcel to a pickup point, where the customer fetches it within ten days. Free."""
    _on_its_way(db, parcel_id)
    point = db.execute("SELECT room FROM pickup_points WHERE id = ?", (pickup_point_id,)).fetchone()
    if point is None:
        raise ValueError(f"there is no pickup point {pickup_point_id}")
    if point["room"] == 0:
        raise ValueError(f"{pickup_point_id} has no room")
    db.execute("UPDATE pickup_points SET room = room - 1 WHERE id = ?", (pickup_point_id,))
    db.execute(
        "UPDATE parcels SET street = NULL, postcode = NULL, city = NULL, pickup_point_id = ?, "
        "route_changes = route_changes + 1 WHERE id = ?",
        (pickup_point_id, parcel_id),
    )
    return {"parcel_id": parcel_id, "pickup_point_id": pickup_point_id, "charge": 0.0}


def return_to_sender(
    db: Connection, parcel_id: ParcelId, reason: Literal["refused", "ordered_by_mistake", "moved_away"]
) -> dict[str, Any]:
    """Sends a parcel back. This can't be undone. Free."""
    _on_its_way(db, parcel_id)
    db.execute("UPDATE parcels SET status = 'returning', route_changes = route_changes + 1 WHERE id = ?", (parcel_id,))
    return {"parcel_id": parcel_id, "status": "returning", "reason": reason, "charge": 0.0}


def hold_parcel(db: Connection, parcel_id: ParcelId, until: Day) -> dict[str, Any]:
    """Keeps a parcel at the depot until a day and delivers it on the next. Five days are free, then 0.75 a day."""
    _on_its_way(db, parcel_id)
    days = (_day(until) - _today(db)).days
    if days < 1:
        raise ValueError("a parcel can be held from tomorrow on")
    db.execute("UPDATE parcels SET status = 'held', held_until = ? WHERE id = ?", (until, parcel_id))
    return {**_charged(db, parcel_id, "holding", PER_DAY * max(0, days - FREE_DAYS)), "held_until": until}


def book_delivery_slot(
    db: Connection, parcel_id: ParcelId, day: Day, part: Literal["morning", "afternoon", "evening"]
) -> dict[str, Any]:
    """Sets the day and the part of the day at which a parcel is delivered. An evening costs 2.50."""
    parcel = _on_its_way(db, parcel_id)
    if _day(day) <= _today(db):
        raise ValueError("the earliest day for a slot is tomorrow")
    if _day(day) < _day(parcel["promised_on"]):
        raise ValueError(f"the parcel doesn't arrive before {parcel['promised_on']}")
    db.execute("UPDATE parcels SET slot = ? WHERE id = ?", (f"{day} {part}", parcel_id))
    return {**_charged(db, parcel_id, "evening slot", EVENING if part == "evening" else 0.0), "slot": f"{day} {part}"}


def open_claim(
    db: Connection,
    parcel_id: ParcelId,
    kind: Literal["damaged", "missing_items", "lost"],
    amount: Annotated[float, Field(gt=0, description="Euros.")],
    description: Annotated[str, Field(min_length=3, description="What happened, in the customer's words.")],
) -> dict[str, Any]:
    """Opens a claim for a parcel and gives its number; the claims office answers within ten working days."""
    parcel = _parcel(db, parcel_id)
    if (parcel["status"] == "delivered") == (kind == "lost"):
        raise ValueError(f"a parcel that is {parcel['status']} can't be claimed as {kind}")
    if amount > parcel["declared_value"]:
        raise ValueError(f"the declared value is {parcel['declared_value']:.2f}")
    if db.execute("SELECT 1 FROM claims WHERE parcel_id = ?", (parcel_id,)).fetchone():
        raise ValueError("there is a claim for this parcel already")
    today = str(_today(db))
    db.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?)", (parcel_id, kind, amount, description, today))
    return {"claim": f"CL-{parcel_id[3:]}", "kind": kind, "amount": amount, "opened_on": today}


def hand_over(
    db: Connection,
    customer_id: Annotated[str, Field(pattern=r"^C-\d{2}$", description="Such as C-01, from find_customer.")],
    topic: Literal["customs", "legal", "driver"],
    note: Annotated[str, Field(min_length=10, description="What the colleague has to know.")],
) -> dict[str, Any]:
    """Hands the case over to a colleague, who writes to the customer within two working days."""
    if db.execute("SELECT 1 FROM customers WHERE id = ?", (customer_id,)).fetchone() is None:
        raise ValueError(f"there is no customer {customer_id}")
    db.execute("INSERT OR REPLACE INTO handovers VALUES (?, ?, ?)", (customer_id, topic, note))
    return {"customer_id": customer_id, "topic": topic, "status": "handed over"}


def _today(db: Connection) -> date:
    return _day(db.execute("SELECT today FROM clock").fetchone()["today"])


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is no day of the calendar") from None


def _parcel(db: Connection, parcel_id: str) -> dict[str, Any]:
    row = db.execute("SELECT * FROM parcels WHERE id = ?", (parcel_id,)).fetchone()
    if row is None:
        raise ValueError(f"there is no parcel {parcel_id}")
    return dict(row)


def _on_its_way(db: Connection, parcel_id: str) -> dict[str, Any]:
    parcel = _parcel(db, parcel_id)
    if parcel["status"] in ("delivered", "returning"):
        raise ValueError(f"the parcel is {parcel['status']}")
    return parcel


def _charged(db: Connection, parcel_id: str, reason: str, amount: float) -> dict[str, Any]:
    if amount:
        db.execute("INSERT OR REPLACE INTO charges VALUES (?, ?, ?)", (parcel_id, reason, amount))
    return {"parcel_id": parcel_id, "charge": amount}
