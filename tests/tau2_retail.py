"""tau2-bench's retail service as a domain: its data and tasks, with tools written here after its policy.

Each user, order and product is one row whose `doc` is JSON. A task's gold actions are a scenario's actions.

Source: https://github.com/sierra-research/tau2-bench, data/tau2/domains/retail (MIT).
"""

import ast
import gzip
import json
import operator
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from generators.conversational_tools.domain import Domain
from generators.conversational_tools.operations import function_tools
from generators.conversational_tools.scenario import Action, Scenario

Doc = dict[str, Any]
Db = sqlite3.Connection


def retail(folder: Path) -> Domain:
    """The domain with all tasks as scenarios; those without an action have no actions."""
    with gzip.open(folder / "db.json.gz") as file:
        content = json.load(file)
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    tools = {tool.name: tool for tool in function_tools(sys.modules[__name__])}
    scenarios = {scenario.id: scenario for scenario in map(_scenario, tasks)}
    policy = (folder / "policy.md").read_text(encoding="utf-8")
    return Domain("retail", policy, tools, _image(content), scenarios)


def _scenario(task: Doc) -> Scenario:
    told = task["user_scenario"]["instructions"]
    criteria = task["evaluation_criteria"]
    return Scenario(
        id=f"task_{task['id']}",
        goal=" ".join(filter(None, (told["known_info"], told["reason_for_call"], told["task_instructions"]))),
        actions=[Action(name=one["name"], arguments=one["arguments"]) for one in criteria["actions"] or []],
        must_tell=[[fact] for fact in criteria["communicate_info"] or []],
    )


def _image(content: dict[str, dict[str, Doc]]) -> bytes:
    with closing(sqlite3.connect(":memory:")) as db:
        for table, docs in content.items():
            db.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, doc JSON NOT NULL)")
            db.executemany(f"INSERT INTO {table} VALUES (?, ?)", ((key, json.dumps(doc)) for key, doc in docs.items()))
        db.commit()
        return db.serialize()


# --- look-ups --------------------------------------------------------------------------------------------------------


def find_user_id_by_email(db: Db, email: str) -> str:
    """The id of the user with this e-mail address."""
    return _only(db, "json_extract(doc, '$.email') = ? COLLATE NOCASE", email)


def find_user_id_by_name_zip(db: Db, first_name: str, last_name: str, zip: str) -> str:
    """The id of the user with this name and zip code."""
    where = "json_extract(doc, '$.name.first_name') = ? COLLATE NOCASE AND json_extract(doc, '$.name.last_name') = ? "
    return _only(db, where + "COLLATE NOCASE AND json_extract(doc, '$.address.zip') = ?", first_name, last_name, zip)


def _only(db: Db, where: str, *values: str) -> str:
    row = db.execute(f"SELECT id FROM users WHERE {where}", values).fetchone()
    if row is None:
        raise ValueError("no such user")
    return str(row["id"])


def get_user_details(db: Db, user_id: str) -> Doc:
    """A user's profile, payment methods and orders."""
    return _read(db, "users", user_id)


def get_order_details(db: Db, order_id: str) -> Doc:
    """An order's items, status, address and payments."""
    return _read(db, "orders", order_id)


def get_product_details(db: Db, product_id: str) -> Doc:
    """A product with all its variants."""
    return _read(db, "products", product_id)


def get_item_details(db: Db, item_id: str) -> Doc:
    """One variant of a product."""
    return _variant(db, item_id)[1]


def list_all_product_types(db: Db) -> dict[str, str]:
    """The names of all products, with their ids."""
    return {str(doc["name"]): str(doc["product_id"]) for _, doc in _all(db, "products")}


def calculate(db: Db, expression: str) -> str:
    """The value of an arithmetic expression, to cents."""
    return f"{_value(ast.parse(expression, mode='eval').body):.2f}"


def transfer_to_human_agents(db: Db, summary: str) -> str:
    """Hands the user over to a person."""
    return "transferred"


_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(left, kind, right) if type(kind) in _OPERATORS:
            return float(_OPERATORS[type(kind)](_value(left), _value(right)))
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand)
    raise ValueError("only numbers and + - * /")


# --- changes ---------------------------------------------------------------------------------------------------------


def cancel_pending_order(db: Db, order_id: str, reason: Literal["no longer needed", "ordered by mistake"]) -> Doc:
    """Cancels a pending order and refunds it."""
    order = _in_status(db, order_id, "pending")
    user = _read(db, "users", order["user_id"])
    for payment in [*order["payment_history"]]:
        _pay(user, order, payment["payment_method_id"], -payment["amount"])
    order.update(status="cancelled", cancel_reason=reason)
    return _save(db, order, user)


def modify_pending_order_address(
    db: Db, order_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
) -> Doc:
    """Changes the shipping address of a pending order."""
    order = _in_status(db, order_id, "pending")
    order["address"] = _address(address1, address2, city, state, country, zip)
    return _save(db, order)


def modify_pending_order_payment(db: Db, order_id: str, payment_method_id: str) -> Doc:
    """Pays a pending order by another method."""
    order = _in_status(db, order_id, "pending")
    user = _read(db, "users", order["user_id"])
    (payment,) = order["payment_history"]
    if payment["payment_method_id"] == payment_method_id:
        raise ValueError("the order is paid by this method already")
    _pay(user, order, payment_method_id, payment["amount"])
    _pay(user, order, payment["payment_method_id"], -payment["amount"])
    return _save(db, order, user)


def modify_pending_order_items(
    db: Db, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
) -> Doc:
    """Changes items of a pending order to other variants; once only."""
    order = _in_status(db, order_id, "pending")
    user = _read(db, "users", order["user_id"])
    difference = _difference(db, order, item_ids, new_item_ids)
    _pay(user, order, payment_method_id, difference)
    for old, new in zip(item_ids, new_item_ids, strict=True):
        item = next(item for item in order["items"] if item["item_id"] == old)
        variant = _variant(db, new)[1]
        item.update(item_id=new, price=variant["price"], options=variant["options"])
    order["status"] = "pending (items modified)"
    return _save(db, order, user)


def modify_user_address(
    db: Db, user_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
) -> Doc:
    """Changes a user's default address."""
    user = _read(db, "users", user_id)
    user["address"] = _address(address1, address2, city, state, country, zip)
    db.execute("UPDATE users SET doc = ? WHERE id = ?", (json.dumps(user), user_id))
    return user


def return_delivered_order_items(db: Db, order_id: str, item_ids: list[str], payment_method_id: str) -> Doc:
    """Requests the return of items of a delivered order."""
    order = _in_status(db, order_id, "delivered")
    method = _method(_read(db, "users", order["user_id"]), payment_method_id)
    if method["source"] != "gift_card" and payment_method_id != order["payment_history"][0]["payment_method_id"]:
        raise ValueError("refunds go to the original method or to a gift card")
    _require_items(order, item_ids)
    order.update(status="return requested", return_items=sorted(item_ids), return_payment_method_id=payment_method_id)
    return _save(db, order)


def exchange_delivered_order_items(
    db: Db, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
) -> Doc:
    """Requests the exchange of items of a delivered order for other variants; once only."""
    order = _in_status(db, order_id, "delivered")
    difference = _difference(db, order, item_ids, new_item_ids)
    _method(
        _read(db, "users", order["user_id"]), payment_method_id
    )  # settled on arrival: task 105's card holds too little
    order.update(
        status="exchange requested", exchange_items=sorted(item_ids), exchange_new_items=sorted(new_item_ids),
        exchange_payment_method_id=payment_method_id, exchange_price_difference=difference,
    )  # fmt: skip
    return _save(db, order)


# --- what they share -------------------------------------------------------------------------------------------------


def _read(db: Db, table: str, key: str) -> Doc:
    row = db.execute(f"SELECT doc FROM {table} WHERE id = ?", (key,)).fetchone()
    if row is None:
        raise ValueError(f"{key} is not among the {table}")
    doc: Doc = json.loads(row["doc"])
    return doc


def _all(db: Db, table: str) -> Iterator[tuple[str, Doc]]:
    return ((row["id"], json.loads(row["doc"])) for row in db.execute(f"SELECT id, doc FROM {table} ORDER BY id"))


def _save(db: Db, order: Doc, user: Doc | None = None) -> Doc:
    db.execute("UPDATE orders SET doc = ? WHERE id = ?", (json.dumps(order), order["order_id"]))
    if user is not None:
        db.execute("UPDATE users SET doc = ? WHERE id = ?", (json.dumps(user), user["user_id"]))
    return order


def _in_status(db: Db, order_id: str, status: str) -> Doc:
    order = _read(db, "orders", order_id)
    if order["status"] != status:
        raise ValueError(f"the order is {order['status']}, not {status}")
    return order


def _variant(db: Db, item_id: str) -> tuple[str, Doc]:
    """(product id, variant)."""
    where = "EXISTS (SELECT 1 FROM json_each(doc, '$.variants') WHERE key = ?)"
    row = db.execute(f"SELECT id, doc FROM products WHERE {where}", (item_id,)).fetchone()
    if row is None:
        raise ValueError(f"there is no item {item_id}")
    return row["id"], json.loads(row["doc"])["variants"][item_id]


def _require_items(order: Doc, item_ids: list[str]) -> None:
    if not item_ids or Counter(item_ids) - Counter(item["item_id"] for item in order["items"]):
        raise ValueError("the order doesn't hold these items")


def _difference(db: Db, order: Doc, item_ids: list[str], new_item_ids: list[str]) -> float:
    """What the new items cost more than the old ones."""
    _require_items(order, item_ids)
    if len(item_ids) != len(new_item_ids):
        raise ValueError("as many new items as old ones are needed")
    difference = 0.0
    for old, new in zip(item_ids, new_item_ids, strict=True):
        item = next(item for item in order["items"] if item["item_id"] == old)
        product, variant = _variant(db, new)
        if product != item["product_id"] or not variant["available"]:
            raise ValueError(f"{new} is no available variant of the same product")
        difference += variant["price"] - item["price"]
    return round(difference, 2)


def _method(user: Doc, payment_method_id: str) -> Doc:
    if payment_method_id not in user["payment_methods"]:
        raise ValueError(f"the user has no payment method {payment_method_id}")
    method: Doc = user["payment_methods"][payment_method_id]
    return method


def _pay(user: Doc, order: Doc, payment_method_id: str, amount: float) -> None:
    """A payment, or a refund where the amount is negative."""
    method = _method(user, payment_method_id)
    if method["source"] == "gift_card":
        if method["balance"] < amount:
            raise ValueError("the gift card's balance is too small")
        method["balance"] = round(method["balance"] - amount, 2)
    kind = "payment" if amount >= 0 else "refund"
    payment = {"transaction_type": kind, "amount": abs(amount), "payment_method_id": payment_method_id}
    order["payment_history"].append(payment)


def _address(address1: str, address2: str, city: str, state: str, country: str, zip: str) -> dict[str, str]:
    return {"address1": address1, "address2": address2, "city": city, "country": country, "state": state, "zip": zip}
