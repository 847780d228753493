"""Loans and reservations of a public library."""

from datetime import date, timedelta
from typing import Annotated, Any

Card = Annotated[str, "The reader's card, such as R-310."]
Book = Annotated[str, "The book's code, such as K12."]

STATE: dict[str, Any] = {
    "books": {
        "K12": {"title": "The Salt Road", "author": "Ines Moreau", "year": 1998, "subject": "travel", "copies": 2},
        "K15": {"title": "Tides and Harbours", "author": "Per Lindqvist", "year": 2011, "subject": "sea", "copies": 1},
        "K21": {
            "title": "Bread Without Hurry",
            "author": "Ines Moreau",
            "year": 2019,
            "subject": "cooking",
            "copies": 3,
        },
        "K27": {
            "title": "A Field Guide to Mosses",
            "author": "Ruth Adeyemi",
            "year": 2004,
            "subject": "nature",
            "copies": 1,
        },
        "K33": {
            "title": "The Quiet Engine",
            "author": "Tomasz Wilk",
            "year": 2022,
            "subject": "technology",
            "copies": 1,
        },
        "K40": {"title": "Winter Rowing", "author": "Per Lindqvist", "year": 2016, "subject": "sport", "copies": 2},
    },
    "readers": {"R-310": "Noor Haddad", "R-322": "Jonas Weber", "R-347": "Amara Nwosu"},
    "loans": [
        {"card": "R-310", "book": "K12", "due": "2026-05-04", "renewed": 0},
        {"card": "R-310", "book": "K27", "due": "2026-04-20", "renewed": 2},
        {"card": "R-322", "book": "K15", "due": "2026-05-11", "renewed": 1},
        {"card": "R-347", "book": "K33", "due": "2026-04-30", "renewed": 0},
    ],
    "reservations": [{"card": "R-322", "book": "K33"}],
    "fees": {"R-310": 1.2, "R-322": 0.0, "R-347": 4.5},
}


def _reader(card: str) -> None:
    if card not in STATE["readers"]:
        raise ValueError(f"there is no card {card}")


def _on_loan(book: str) -> int:
    return sum(loan["book"] == book for loan in STATE["loans"])


def search_books(
    words: Annotated[str, "Words of the title, or the author's name."] = "",
    subject: Annotated[str, "One subject, such as travel, sea, cooking, nature, technology or sport."] = "",
) -> list[dict[str, Any]]:
    """Search the catalogue."""
    found = []
    for code, book in STATE["books"].items():
        text = f"{book['title']} {book['author']}".casefold()
        if all(word in text for word in words.casefold().split()) and subject.casefold() in ("", book["subject"]):
            found.append({"book": code, **book, "available": book["copies"] - _on_loan(code)})
    return found


def list_loans(card: Card) -> list[dict[str, Any]]:
    """List what a reader has at home, with the day on which it is due."""
    _reader(card)
    return [{**loan, "title": STATE["books"][loan["book"]]["title"]} for loan in STATE["loans"] if loan["card"] == card]


def renew_loan(card: Card, book: Book) -> dict[str, Any]:
    """Renew a loan by 28 days from its due day. A book can be renewed twice, and not while another reader waits."""
    _reader(card)
    loan = next((one for one in STATE["loans"] if (one["card"], one["book"]) == (card, book)), None)
    if loan is None:
        raise ValueError(f"{book} is not on loan to {card}")
    if loan["renewed"] >= 2:
        raise ValueError(f"{book} was renewed twice already")
    if any(one["book"] == book for one in STATE["reservations"]):
        raise ValueError(f"another reader waits for {book}")
    loan["due"] = (date.fromisoformat(loan["due"]) + timedelta(days=28)).isoformat()
    loan["renewed"] += 1
    return dict(loan)


def reserve_book(card: Card, book: Book) -> dict[str, Any]:
    """Reserve a book; a copy that is in is laid aside."""
    _reader(card)
    if book not in STATE["books"]:
        raise ValueError(f"there is no book {book}")
    if {"card": card, "book": book} in STATE["reservations"]:
        raise ValueError(f"{card} has reserved {book} already")
    STATE["reservations"].append({"card": card, "book": book})
    waiting = sum(one["book"] == book for one in STATE["reservations"])
    return {"reserved": book, "place_in_line": waiting, "in_house": STATE["books"][book]["copies"] > _on_loan(book)}


def cancel_reservation(card: Card, book: Book) -> dict[str, str]:
    """Give up a reservation."""
    if {"card": card, "book": book} not in STATE["reservations"]:
        raise ValueError(f"{card} has not reserved {book}")
    STATE["reservations"].remove({"card": card, "book": book})
    return {"cancelled": book}


def read_fees(card: Card) -> dict[str, float]:
    """What a reader owes, in euros."""
    _reader(card)
    return {"owed": STATE["fees"][card]}
