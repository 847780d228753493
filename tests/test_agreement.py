"""Agreement and intervals against figures that can be looked up."""

import pytest

from gristmill.agreement import kappa, weighted_kappa, wilson


def test_kappa_of_a_textbook_table() -> None:
    """Wikipedia's example: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no."""
    table = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    assert kappa(table) == pytest.approx(0.4)
    assert kappa({("yes", "yes"): 7}) is None


def test_weighted_kappa_forgives_a_near_miss() -> None:
    exact, near, far = ({(0, 0): 5, (4, 4): 5, (4, other): 2} for other in (4, 3, 0))
    assert weighted_kappa(exact) == 1
    assert 1 > (weighted_kappa(near) or 0) > (weighted_kappa(far) or 0)


def test_the_interval_of_nine_in_ten() -> None:
    """R's binom.confint(9, 10, method = "wilson")."""
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 20)[0] == 0 and wilson(0, 20)[1] > 0.1
