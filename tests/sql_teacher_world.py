"""A world as a good teacher would invent it, and a scripted teacher that gives it, whole or with one thing wrong."""

from collections.abc import Callable
from typing import Any

from gristmill.testing import ScriptedModel
from schemas import Message, assistant

DDL = {
    "plant": "CREATE TABLE plant (plant_id INTEGER PRIMARY KEY, city VARCHAR(40), opened DATE, area INTEGER, "
    "phone VARCHAR(20))",
    "product": "CREATE TABLE product (product_id INTEGER PRIMARY KEY, label VARCHAR(40), weight INTEGER, "
    "colour VARCHAR(20), shelf VARCHAR(20))",
    "batch": "CREATE TABLE batch (batch_id INTEGER PRIMARY KEY, plant_id INTEGER, product_id INTEGER, pieces INTEGER, "
    "made_on DATE, note VARCHAR(40), state VARCHAR(20), scrap VARCHAR(20), "
    "FOREIGN KEY (plant_id) REFERENCES plant (plant_id), FOREIGN KEY (product_id) REFERENCES product (product_id))",
    "visit": "CREATE TABLE visit (visit_id INTEGER PRIMARY KEY, plant_id INTEGER, visitor VARCHAR(40), "
    "FOREIGN KEY (plant_id) REFERENCES plant (plant_id))",
}
ROWS = {
    "plant": [
        "(1, 'Linz {{ x }}', '2001-01-01', 900, NULL)",
        "(2, 'Graz {% y %}', '2010-01-01', 700, '0316')",
        "(3, 'Wels', '2012-05-01', 700, NULL)",
        "(4, 'Steyr', '2015-05-01', 300, '07252')",
        "(5, 'Enns', '2019-05-01', 300, '07223')",
    ],
    "product": [
        "(1, 'bolt', 12, 'grey', 'A1')",
        "(2, 'nut', 8, 'grey', 'A2')",
        "(3, 'washer', 2, 'black', 'A2')",
        "(4, 'hook', 40, 'black', 'B1')",
        "(5, 'hinge', 90, 'brass', 'B1')",
    ],
    "batch": [
        "(1, 1, 1, 40, '2024-01-03', NULL, 'done', '1')",
        "(2, 1, 2, 60, '2024-01-05', 'late', 'done', '0')",
        "(3, 2, 1, 75, '2024-01-09', NULL, 'open', '4')",
        "(4, 2, 3, 20, '2024-02-02', NULL, 'open', '2')",
        "(5, 3, 5, 15, '2024-02-11', 'late', 'done', '0')",
    ],
    "visit": ["(1, 2, 'Ana')", "(2, 2, 'Bo')", "(3, 1, 'Cy')", "(4, 3, 'Di')", "(5, 3, 'Ed')"],
}
WORLD: dict[str, Any] = {
    "ddl": list(DDL.values()),
    "inserts": [f"INSERT INTO {table} VALUES {', '.join(rows)}" for table, rows in ROWS.items()],
    "distractor_tables": ["visit"],
    "distractor_columns": [
        *("plant.opened", "plant.area", "plant.phone"),
        *("product.weight", "product.colour", "product.shelf"),
        *("batch.note", "batch.state", "batch.scrap"),
    ],
}
QUESTION = "How many pieces did each plant's city make {{ in total }}? Name the city and the number."
RIGHT = (
    "SELECT plant.city, SUM(batch.pieces) AS pieces FROM batch JOIN plant ON plant.plant_id = batch.plant_id "
    "GROUP BY plant.city"
)
SORTED = RIGHT + " ORDER BY pieces DESC"
WRONG = RIGHT.replace("SUM", "MAX")
CELL: dict[str, Any] = {
    "industry": "manufacturing",
    "topic": "production runs",
    "tier": "intermediate",
    "concept": "join_group",
    "task_type": "reporting",
    "task": "a breakdown by category",
}


def without(table: str) -> dict[str, Any]:
    """The world without one of its tables, and its distractor columns."""
    return {
        "ddl": [statement for name, statement in DDL.items() if name != table],
        "inserts": [statement for name, statement in zip(ROWS, WORLD["inserts"], strict=True) if name != table],
        "distractor_columns": [name for name in WORLD["distractor_columns"] if not name.startswith(f"{table}.")],
    }


def with_rows(table: str, rows: list[str]) -> dict[str, Any]:
    """The world with other rows in one table."""
    filled = {**ROWS, table: rows}
    return {"inserts": [f"INSERT INTO {name} VALUES {', '.join(values)}" for name, values in filled.items()]}


def with_ddl(table: str, change: Callable[[str], str]) -> dict[str, Any]:
    return {"ddl": [change(statement) if name == table else statement for name, statement in DDL.items()]}


def teacher_model(*answers: Any, world: Any = None, asked: Any = None) -> ScriptedModel:
    """A writer that invents `world` and asks, and a solver that gives `answers` in turn, each with a trace."""
    turns = iter(answers * 50)

    def script(role: str, request: Any) -> Any:
        if role == "writer":
            wanted = request["response_format"]["json_schema"]["schema"]["properties"]
            if "ddl" in wanted:
                return {**WORLD, **(world or {})} if not isinstance(world, str) else world
            return {"question": QUESTION, "query": RIGHT, **(asked or {})}
        answer = next(turns)
        return answer if isinstance(answer, Message) else assistant(f"```sql\n{answer}\n```", f"I sum up.\n{answer}")

    return ScriptedModel(script)
