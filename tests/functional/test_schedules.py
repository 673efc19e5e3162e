import itertools
import math

import pytest

from sfgsearch.functional import TemperatureSchedule, temperature

STEPS = 101
MANY = range(0, STEPS, 7)


def closed_form(family, step, start, end):
    progress = step / (STEPS - 1)
    return {
        "constant": start,
        "exponential": start ** (1 - progress) * end**progress,
        "linear": start * (1 - progress) + end * progress,
        "cosine": end + (start - end) * math.cos(math.pi * progress / 2) ** 2,
    }[family]


@pytest.mark.parametrize("family", ["constant", "exponential", "linear", "cosine"])
@pytest.mark.parametrize(("start", "end"), [(2.0, 0.3), (5.0, 0.01), (0.5, 1.5)])
def test_families_follow_their_closed_forms(family, start, end):
    for step in MANY:
        expected = closed_form(family, step, start, end)
        assert temperature(step, family, start=start, end=end, steps=STEPS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rate", [1e-5, 1e-3, 0.1])
def test_exponential_decay_by_a_rate(rate):
    for step in MANY:
        assert temperature(step, "exponential", start=2.0, rate=rate) == pytest.approx(2.0 * math.exp(-rate * step))


def test_the_rate_goes_before_the_end():
    value = temperature(10, "exponential", start=2.0, end=1.0, steps=STEPS, rate=0.01)
    assert value == pytest.approx(2.0 * math.exp(-0.1))


@pytest.mark.parametrize("family", ["exponential", "linear", "cosine"])
def test_both_ends_are_reached(family):
    assert temperature(0, family, start=2.0, end=0.3, steps=STEPS) == pytest.approx(2.0)
    assert temperature(STEPS - 1, family, start=2.0, end=0.3, steps=STEPS) == pytest.approx(0.3)


@pytest.mark.parametrize("family", ["exponential", "linear", "cosine"])
def test_steps_beyond_the_last_stay_at_the_end(family):
    assert temperature(10 * STEPS, family, start=2.0, end=0.3, steps=STEPS) == pytest.approx(0.3)


@pytest.mark.parametrize("family", ["exponential", "linear", "cosine"])
def test_cooling_never_warms(family):
    values = [temperature(step, family, start=2.0, end=0.3, steps=STEPS) for step in range(STEPS)]
    assert all(later < earlier for earlier, later in itertools.pairwise(values))


@pytest.mark.parametrize("family", ["constant", "exponential", "linear", "cosine"])
def test_the_floor_holds(family):
    for step in range(0, 3 * STEPS, 11):
        assert temperature(step, family, start=1.0, end=0.001, steps=STEPS, floor=0.05) >= 0.05
    assert temperature(10**9, "exponential", start=1.0, rate=1.0, floor=0.05) == 0.05


def test_the_floor_changes_nothing_above_it():
    for step in MANY:
        free = temperature(step, "linear", start=1.0, end=0.001, steps=STEPS)
        assert temperature(step, "linear", start=1.0, end=0.001, steps=STEPS, floor=0.05) == max(free, 0.05)


@pytest.mark.parametrize("family", ["exponential", "linear", "cosine"])
def test_a_schedule_of_one_step(family):
    assert temperature(0, family, start=2.0, end=0.3, steps=1) == pytest.approx(2.0)


@pytest.mark.parametrize("family", ["exponential", "linear", "cosine"])
def test_a_missing_end_is_explained(family):
    with pytest.raises(ValueError, match=f"a {family} schedule needs an end temperature"):
        temperature(0, family, start=2.0, steps=STEPS)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.3), (-1.0, 0.3), (2.0, 0.0), (2.0, -0.3), (math.nan, 0.3)])
def test_temperatures_that_are_not_positive_are_refused(start, end):
    with pytest.raises(ValueError, match="temperature must be positive"):
        temperature(0, "linear", start=start, end=end, steps=STEPS)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match=r"one of constant, exponential, linear, cosine, got 'step'"):
        temperature(0, "step", start=2.0, end=0.3)


@pytest.mark.parametrize(
    "schedule",
    [
        TemperatureSchedule(),
        TemperatureSchedule("exponential", start=3.0, end=None, rate=0.01, floor=0.1),
        TemperatureSchedule("cosine", start=3.0, end=0.2),
        TemperatureSchedule("constant", start=0.7, end=None),
    ],
)
def test_the_value_class_is_the_function(schedule):
    for step in MANY:
        expected = temperature(
            step,
            schedule.family,
            start=schedule.start,
            end=schedule.end,
            steps=STEPS,
            rate=schedule.rate,
            floor=schedule.floor,
        )
        assert schedule(step, STEPS) == expected
