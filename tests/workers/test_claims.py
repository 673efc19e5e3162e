import pytest
from sqlalchemy import create_engine

from sfgsearch.records import Records
from sfgsearch.workers import _claims
from sfgsearch.workers._claims import Claims

GRACE = 8.0


@pytest.fixture
def jobs(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/jobs.db")
    records = Records(engine, "study")
    records.create_tables()
    yield records.jobs
    engine.dispose()


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that goes on when told."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(_claims, "time", clock)
    return clock


@pytest.fixture
def claims(jobs):
    return Claims(jobs, "me", "my name", GRACE)


def free(claims, *keys, begun=False):
    return [key for key, _ in claims.look(dict.fromkeys(keys, begun))]


@pytest.mark.usefixtures("clock")
def test_what_nobody_took_is_free(claims):
    assert free(claims, "trial/0", "trial/1") == ["trial/0", "trial/1"]


@pytest.mark.usefixtures("clock")
def test_what_another_worker_has_is_not(claims, jobs):
    jobs.claim("trial/0", "other", "other", None)
    assert free(claims, "trial/0", "trial/1") == ["trial/1"]


@pytest.mark.usefixtures("clock")
def test_what_was_given_back_is_free(claims, jobs):
    jobs.claim("trial/0", "other", "other", None)
    jobs.release("trial/0", "other")
    assert free(claims, "trial/0") == ["trial/0"]


def test_silence_makes_a_job_free_after_the_grace(claims, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    for _ in range(int(GRACE)):
        assert free(claims, "trial/0") == []
        clock.sleep(1)
    ((key, seen),) = claims.look({"trial/0": True})
    assert claims.take(key, seen)
    assert jobs.all()[key].owner == "me"


def test_signs_of_life_keep_a_job(claims, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    for _ in range(5 * int(GRACE)):
        assert free(claims, "trial/0") == []
        clock.sleep(1)
        jobs.beat("trial/0", "other", 0, fruitful=False)


def test_a_long_pause_of_the_one_who_looks_is_no_silence_of_the_others(claims, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    assert free(claims, "trial/0") == []
    clock.sleep(100 * GRACE)
    assert free(claims, "trial/0") == []
    clock.sleep(100 * GRACE)
    assert free(claims, "trial/0") == ["trial/0"]


def test_a_running_trial_that_nobody_took_is_free_after_the_grace(claims, clock):
    assert free(claims, "trial/0", begun=True) == []
    clock.sleep(GRACE / 2)
    assert free(claims, "trial/0", begun=True) == []
    clock.sleep(GRACE / 2)
    assert free(claims, "trial/0", begun=True) == ["trial/0"]


def test_a_job_that_went_away_and_came_back_is_watched_anew(claims, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    free(claims, "trial/0")
    clock.sleep(GRACE / 2)
    free(claims, "trial/0")
    assert free(claims) == []
    clock.sleep(GRACE / 2)
    assert free(claims, "trial/0") == []


@pytest.mark.usefixtures("clock")
def test_what_the_worker_itself_holds_is_its_own_to_take_up_again(claims, jobs):
    claims.take("trial/0", None)
    ((key, seen),) = claims.look({"trial/0": True})
    assert claims.take(key, seen)
    assert jobs.all()[key].claims == 2


@pytest.mark.usefixtures("clock")
def test_of_two_that_see_a_job_free_one_takes_it(claims, jobs):
    other = Claims(jobs, "other", "other", GRACE)
    ((key, seen),) = claims.look({"trial/0": False})
    ((_, seen_by_other),) = other.look({"trial/0": False})
    assert other.take(key, seen_by_other)
    assert not claims.take(key, seen)
