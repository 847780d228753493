"""The bundled databases are sound and varied, and a user's own database reads like them."""

import re
import sqlite3
from pathlib import Path
from random import Random

import pytest

from generators.text_to_sql.grammar import sample_query, suited_concepts
from generators.text_to_sql.introspect import described, read_sqlite, split_words
from generators.text_to_sql.load import FOLDER, bundled, load, read_yaml
from generators.text_to_sql.schema import Column, Database, ForeignKey, Table
from generators.text_to_sql.statements import ddl, inserts, parents_first
from gristmill.errors import ConfigError
from judges.sql_engine import Limits
from judges.sql_world import joined
from judges.sqlite_engine import SQLite

NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))

# Each query finds rows that contradict each other.
CONTRADICTIONS = {
    "airline": [
        "SELECT * FROM flight WHERE origin_id = destination_id OR (status = 'cancelled') <> (delay_minutes IS NULL)",
        "SELECT * FROM booking JOIN flight USING (flight_id) WHERE booked_on > departs_at",
        "SELECT * FROM flight JOIN aircraft USING (aircraft_id) WHERE STRFTIME('%Y', departs_at) < built_year",
        "SELECT flight_number FROM flight GROUP BY 1 HAVING COUNT(DISTINCT origin_id || '-' || destination_id) > 1",
    ],
    "energy_utility": [
        "SELECT * FROM meter JOIN site USING (site_id) WHERE installed_on < connected_on",
        "SELECT * FROM reading JOIN meter USING (meter_id) WHERE read_on < installed_on OR is_smart AND is_estimated",
        "SELECT * FROM bill WHERE paid_on < issued_on",
    ],
    "farm_cooperative": [
        "SELECT * FROM delivery d JOIN harvest h USING (harvest_id) WHERE d.delivered_on < h.harvested_on",
        "SELECT harvest_id FROM delivery d JOIN harvest h USING (harvest_id) "
        "GROUP BY 1 HAVING SUM(d.tonnes) > MAX(h.tonnes)",
        "SELECT * FROM delivery WHERE paid_on < delivered_on",
    ],
    "film_distribution": [
        "SELECT * FROM cinema_run JOIN film USING (film_id) WHERE STRFTIME('%Y', started_on) < release_year",
        "SELECT * FROM nomination JOIN film USING (film_id) WHERE year < release_year",
    ],
    "hospital": [
        "SELECT * FROM admission WHERE discharged_on < admitted_on OR (discharged_on IS NULL) <> (cost IS NULL)",
        "SELECT * FROM admission JOIN patient USING (patient_id) WHERE admitted_on < birth_date",
        "SELECT * FROM medical_procedure JOIN admission USING (admission_id) "
        "WHERE performed_on < admitted_on OR performed_on > discharged_on",
        "SELECT * FROM medical_procedure JOIN physician USING (physician_id) WHERE performed_on < hired_on",
        "SELECT * FROM invoice WHERE paid_on < issued_on",
    ],
    "hotel_group": [
        "SELECT * FROM stay WHERE departs_on <= arrives_on",
        "SELECT * FROM stay JOIN room USING (room_id) WHERE persons > capacity",
        "SELECT * FROM extra_charge JOIN stay USING (stay_id) "
        "WHERE cancelled OR charged_on NOT BETWEEN arrives_on AND departs_on",
        "SELECT * FROM feedback JOIN stay USING (stay_id) WHERE cancelled OR given_on <= departs_on",
    ],
    "insurance": [
        "SELECT * FROM policy JOIN agent USING (agent_id) WHERE starts_on < hired_on OR ends_on <= starts_on",
        "SELECT * FROM claim JOIN policy USING (policy_id) WHERE incident_on < starts_on OR incident_on > ends_on",
        "SELECT * FROM claim WHERE filed_on < incident_on OR settled > claimed",
        "SELECT * FROM claim WHERE (status = 'open') <> (settled IS NULL)",
    ],
    "logistics": [
        "SELECT * FROM shipment WHERE delivered_on < shipped_on",
        "SELECT * FROM shipment WHERE (status = 'delivered') <> (delivered_on IS NOT NULL)",
        "SELECT * FROM shipment JOIN client USING (client_id) WHERE shipped_on < since",
        "SELECT * FROM damage_claim JOIN shipment USING (shipment_id) "
        "WHERE reported_on < shipped_on OR paid_amount > claimed_amount OR is_settled <> (paid_amount IS NOT NULL)",
    ],
    "online_shop": [
        "SELECT * FROM purchase JOIN customer USING (customer_id) WHERE ordered_on < registered_on",
        "SELECT * FROM purchase_line JOIN product USING (product_id) WHERE unit_price > price",
        "SELECT * FROM purchase WHERE purchase_id NOT IN (SELECT purchase_id FROM purchase_line)",
        "SELECT * FROM review r WHERE NOT EXISTS (SELECT 1 FROM purchase p JOIN purchase_line l USING (purchase_id) "
        "WHERE p.customer_id = r.customer_id AND l.product_id = r.product_id AND p.ordered_on < r.written_on)",
    ],
    "public_library": [
        "SELECT * FROM loan WHERE due_on <= loaned_on OR returned_on < loaned_on",
        "SELECT * FROM loan JOIN member USING (member_id) WHERE loaned_on < joined_on",
        "SELECT * FROM loan JOIN copy USING (copy_id) WHERE loaned_on < acquired_on",
    ],
    "restaurant_chain": [
        "SELECT * FROM bill JOIN restaurant USING (restaurant_id) WHERE closed_at < opened_on OR guests > seats",
        "SELECT * FROM bill WHERE bill_id NOT IN (SELECT bill_id FROM bill_line)",
        "SELECT * FROM bill JOIN bill_line USING (bill_id) GROUP BY bill_id "
        "HAVING tip > 0.2 * SUM(quantity * unit_price) OR MAX(quantity) > guests",
        "SELECT * FROM employee JOIN restaurant USING (restaurant_id) WHERE hired_on < opened_on",
    ],
    "retail_bank": [
        "SELECT * FROM card JOIN account USING (account_id) WHERE NOT is_active",
        "SELECT * FROM account JOIN customer USING (customer_id) WHERE opened_on < joined_on",
        "SELECT * FROM loan JOIN customer USING (customer_id) WHERE granted_on < joined_on",
        "SELECT * FROM transfer JOIN account USING (account_id) WHERE booked_on < opened_on OR NOT is_active",
    ],
    "university": [
        "SELECT * FROM enrolment JOIN student USING (student_id) WHERE enrolled_on < started_on",
        "SELECT * FROM enrolment e JOIN course USING (course_id) JOIN lecturer l USING (lecturer_id) "
        "WHERE e.enrolled_on < l.hired_on",
        "SELECT * FROM scholarship JOIN student USING (student_id) WHERE awarded_on < started_on",
    ],
}


def filled(database: Database) -> SQLite:
    return SQLite(joined([*ddl(database.tables), *inserts(database.tables)]), Limits())


def test_ten_industries_and_more() -> None:
    assert len(NAMES) >= 10
    assert len({database.industry for database in bundled().values()}) == len(NAMES)
    assert set(CONTRADICTIONS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_loads_with_foreign_keys_and_gives_back_its_rows(name: str) -> None:
    database = bundled()[name]
    assert 4 <= len(database.tables) <= 6
    with filled(database) as engine:
        for table in database.tables:
            assert 12 <= len(table.rows) <= 45
            assert sorted(engine.run(f"SELECT * FROM {table.name}")[1], key=repr) == sorted(table.rows, key=repr)


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_contradict_each_other(name: str) -> None:
    with filled(bundled()[name]) as engine:
        for query in CONTRADICTIONS[name]:
            assert engine.run(query)[1] == [], query


@pytest.mark.parametrize("name", NAMES)
def test_holds_what_questions_need(name: str) -> None:
    database = bundled()[name]
    columns = [column for table in database.tables for column in table.columns]
    kinds = {column.kind for column in columns}
    assert kinds >= {"id", "key", "name", "category", "measure", "date"}
    assert any(column.nullable for column in columns)
    assert all(table.primary_key for table in database.tables)
    years = {str(value)[:4] for column in columns if column.kind == "date" for value in column.values}
    assert len(years) >= 3
    for column in columns:
        if column.kind == "flag":
            assert set(column.values) <= {0, 1}
        if column.kind == "date":
            assert all(re.fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?", str(value)) for value in column.values)
        if column.kind == "category":
            assert 1 < len(column.values) <= 15
        assert column.words == column.words.strip() and "_" not in column.words


@pytest.mark.parametrize("name", NAMES)
def test_joins_find_rows_and_miss_some(name: str) -> None:
    """Every key is used, and somewhere a parent has no child, so that outer and anti joins have something to find."""
    database = bundled()[name]
    childless = 0
    for table in database.tables:
        for key in table.foreign_keys:
            used = set(table.values(key.column)) - {None}
            all_parents = set(database.table(key.table).values(key.to_column))
            assert used and used <= all_parents
            childless += len(all_parents - used)
    assert childless > 0


def test_parents_come_first_and_circles_are_cut() -> None:
    def table(name: str, *parents: str) -> Table:
        keys = tuple(ForeignKey("x", parent, "x") for parent in parents)
        return Table(name, name, name, (Column("x", "INTEGER", "x", "id"),), ("x",), keys, ((1,),))

    ordered = [t.name for t in parents_first([table("c", "b"), table("b", "a", "c"), table("a", "a")])]
    assert sorted(ordered) == ["a", "b", "c"] and ordered.index("a") < ordered.index("b")


def test_a_key_to_an_absent_table_is_a_plain_column() -> None:
    loan = bundled()["retail_bank"].table("loan")
    assert "REFERENCES" not in ddl([loan])[0]
    with SQLite(joined([*ddl([loan]), *inserts([loan])]), Limits()) as engine:
        assert engine.run("SELECT COUNT(*) FROM loan")[1] == [(len(loan.rows),)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((" 1,Ghent", " 1,Ghent,extra"), "row 1 has 3 fields for 2 columns"),
        ((" 1,Ghent", " one,Ghent"), "table town: row 1"),
        (("kind: category", "kind: colour"), "tables.town.columns.city.kind"),
        (("{kind: id, words: town number}", "{kind: key, words: town number, of: land}"), "points to land"),
        (("industry:", "branch:"), "industry is missing"),
    ],
)
def test_a_wrong_file_gets_one_sentence(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = (
        "industry: travel\ntables:\n  town:\n    words: [town, towns]\n    columns:\n"
        "      town_id: {kind: id, words: town number}\n      city: {kind: category, words: city}\n"
        "    rows: |\n      1,Ghent\n      2,\n"
    )
    path = tmp_path / "travel.yaml"
    path.write_text(text)
    assert read_yaml(path).table("town").rows == ((1, "Ghent"), (2, None))
    path.write_text(text.replace(*change))
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_yaml(path)


def own_database(path: Path) -> Path:
    with sqlite3.connect(path) as db:
        db.executescript(
            """
            CREATE TABLE tblStaff (StaffID INTEGER PRIMARY KEY, FirstName TEXT, bossId INT REFERENCES tblstaff,
                                   IsActive INT, photo BLOB);
            CREATE TABLE "Order Items" (id INTEGER PRIMARY KEY, staff_id INT REFERENCES tblStaff (StaffID),
                                        UnitPrice REAL, qty INT, "Order Date" TEXT,
                                        zipCode INT, status TEXT, note TEXT);
            CREATE TABLE empty_table (id INTEGER PRIMARY KEY);
            CREATE VIEW v AS SELECT * FROM tblStaff;
            INSERT INTO tblStaff VALUES (1, 'Ann', NULL, 1, x'00'), (2, 'Bo', 1, 0, x'01'), (3, 'Cy', 99, 1, NULL);
            """
        )
        rng = Random(0)
        db.executemany(
            'INSERT INTO "Order Items" VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
            [
                (i, rng.choice((1, 2, 3)), i * 1.25, i % 7, f"2024-0{1 + i % 9}-11", 9000 + i, "ab"[i % 2], f"note {i}")
                for i in range(1, 301)
            ],
        )
    return path


def test_a_users_own_database(tmp_path: Path) -> None:
    database = load(own_database(tmp_path / "shopData.sqlite"), max_rows=60)
    assert (database.name, database.industry) == ("shopData", "shop data")
    staff, items = database.table("tblStaff"), database.table("Order Items")
    assert len(database.tables) == 2
    assert (staff.singular, staff.plural, staff.person) == ("staff", "staff", True)
    assert (items.singular, items.plural, items.person) == ("order item", "order items", False)
    assert "photo" not in staff.by_name
    assert staff.rows == ((1, "Ann", None, 1), (2, "Bo", 1, 0)), "the row whose boss is missing is left out"
    kinds = {column.name: (column.words, column.kind) for table in (staff, items) for column in table.columns}
    assert kinds == {
        "StaffID": ("staff id", "id"),
        "FirstName": ("first name", "name"),
        "bossId": ("boss id", "key"),
        "IsActive": ("active", "flag"),
        "id": ("order item id", "id"),
        "staff_id": ("staff id", "key"),
        "UnitPrice": ("unit price", "measure"),
        "qty": ("qty", "measure"),
        "Order Date": ("order date", "date"),
        "zipCode": ("zip code", "text"),
        "status": ("status", "category"),
        "note": ("note", "text"),
    }
    assert items.column("qty").additive and not items.column("UnitPrice").additive
    assert [key.words for key in (*staff.foreign_keys, *items.foreign_keys)] == ["boss", None]
    assert len(items.rows) == 60 and 3 not in items.values("staff_id")
    assert load(tmp_path / "shopData.sqlite", 60, "retail").industry == "retail"
    with filled(database) as engine:
        assert engine.run('SELECT COUNT(*) FROM "Order Items"')[1] == [(60,)]


def test_a_constant_column_is_never_asked_about() -> None:
    columns = tuple(Column(name, "INTEGER", "", "text") for name in ("id", "quantity", "price"))
    table = described(Table("line", "", "", columns, ("id",), (), ((1, 1, 5), (2, 1, 7), (3, None, 7))))
    assert [column.kind for column in table.columns] == ["id", "key", "measure"]


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with pytest.raises(ConfigError, match="doesn't exist"):
        load(path, 60)
    path.write_text("no database at all, but long enough to be looked at")
    with pytest.raises(ConfigError, match="can't be read as an SQLite database"):
        load(path, 60)
    path.unlink()
    sqlite3.connect(path).close()
    with pytest.raises(ConfigError, match="holds no table with rows"):
        load(path, 60)


@pytest.mark.parametrize(
    ("name", "singular", "plural"),
    [
        ("Categories", "category", "categories"),
        ("order_boxes", "order box", "order boxes"),
        ("People", "person", "people"),
        ("tbl_bus", "bus", "buses"),
        ("Address", "address", "addresses"),
        ("InvoiceLine", "invoice line", "invoice lines"),
        ("media", "media", "media"),
    ],
)
def test_nouns_from_table_names(name: str, singular: str, plural: str) -> None:
    table = described(Table(name, "", "", (Column("id", "INTEGER", "", "text"),), ("id",), (), ((1,),)))
    assert (table.singular, table.plural) == (singular, plural)


def test_words_from_identifiers() -> None:
    assert [split_words(name) for name in ("HTTPStatusCode", "unit_price", "SHIP2PARTY", "Größe")] == [
        ["http", "status", "code"],
        ["unit", "price"],
        ["ship", "2", "party"],
        ["größe"],
    ]


@pytest.mark.shared
def test_chinook(shared_data: Path, tmp_path: Path) -> None:
    """A real schema with eleven tables and 15,000 rows: sampled with its keys intact, and fit for the grammar."""
    import gzip

    path = tmp_path / "Chinook.sqlite"
    path.write_bytes(gzip.decompress((shared_data / "sql/chinook/Chinook_Sqlite.sqlite.gz").read_bytes()))
    database = read_sqlite(path, max_rows=60)
    assert len(database.tables) == 11
    with filled(database) as engine:
        assert engine.run("SELECT COUNT(*) FROM InvoiceLine")[1] == [(60,)]
    customer, track = database.table("Customer"), database.table("Track")
    assert customer.person and customer.foreign_keys[0].words == "support rep"
    assert track.column("Milliseconds").unit == "milliseconds"
    assert database.table("InvoiceLine").plural == "invoice lines"
    concepts = suited_concepts(database)
    assert len(concepts) >= 40
    with filled(database) as engine:
        answered = [bool(engine.run(sample_query(database, c, Random(0)).sql)[1]) for c in concepts]
    assert sum(answered) >= 0.9 * len(answered)
