import pytest
from sqlalchemy import create_engine

from sfgsearch.records import Records
from sfgsearch.workers import _leases
from sfgsearch.workers._leases import Leases

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
    monkeypatch.setattr(_leases, "time", clock)
    return clock


@pytest.fixture
def leases(jobs):
    return Leases(jobs, "me", "my name", GRACE)


def free(leases, *keys, begun=False):
    return [key for key, _ in leases.free(dict.fromkeys(keys, begun))]


@pytest.mark.usefixtures("clock")
def test_what_nobody_took_is_free(leases):
    assert free(leases, "trial/0", "trial/1") == ["trial/0", "trial/1"]


@pytest.mark.usefixtures("clock")
def test_what_another_worker_has_is_not(leases, jobs):
    jobs.claim("trial/0", "other", "other", None)
    assert free(leases, "trial/0", "trial/1") == ["trial/1"]


@pytest.mark.usefixtures("clock")
def test_what_was_given_back_is_free(leases, jobs):
    jobs.claim("trial/0", "other", "other", None)
    jobs.release("trial/0", "other")
    assert free(leases, "trial/0") == ["trial/0"]


def test_silence_makes_a_job_free_after_the_grace(leases, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    for _ in range(int(GRACE)):
        assert free(leases, "trial/0") == []
        clock.sleep(1)
    ((key, seen),) = leases.free({"trial/0": True})
    assert leases.take(key, seen)
    assert jobs.all()[key].owner == "me"


def test_signs_of_life_keep_a_job(leases, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    for _ in range(5 * int(GRACE)):
        assert free(leases, "trial/0") == []
        clock.sleep(1)
        jobs.heartbeat("trial/0", "other", 0, progressed=False)


def test_a_long_pause_of_the_one_who_looks_is_no_silence_of_the_others(leases, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    assert free(leases, "trial/0") == []
    clock.sleep(100 * GRACE)
    assert free(leases, "trial/0") == []
    clock.sleep(100 * GRACE)
    assert free(leases, "trial/0") == ["trial/0"]


def test_a_running_trial_that_nobody_took_is_free_after_the_grace(leases, clock):
    assert free(leases, "trial/0", begun=True) == []
    clock.sleep(GRACE / 2)
    assert free(leases, "trial/0", begun=True) == []
    clock.sleep(GRACE / 2)
    assert free(leases, "trial/0", begun=True) == ["trial/0"]


def test_a_job_that_went_away_and_came_back_is_watched_anew(leases, jobs, clock):
    jobs.claim("trial/0", "other", "other", None)
    free(leases, "trial/0")
    clock.sleep(GRACE / 2)
    free(leases, "trial/0")
    assert free(leases, "trial/1") == ["trial/1"]
    clock.sleep(GRACE / 2)
    assert free(leases, "trial/0") == []


@pytest.mark.usefixtures("clock")
def test_what_the_worker_itself_holds_is_its_own_to_take_up_again(leases, jobs):
    leases.take("trial/0", None)
    ((key, seen),) = leases.free({"trial/0": True})
    assert leases.take(key, seen)
    assert jobs.all()[key].claims == 2


@pytest.mark.usefixtures("clock")
def test_of_two_that_see_a_job_free_one_takes_it(leases, jobs):
    other = Leases(jobs, "other", "other", GRACE)
    ((key, seen),) = leases.free({"trial/0": False})
    ((_, seen_by_other),) = other.free({"trial/0": False})
    assert other.take(key, seen_by_other)
    assert not leases.take(key, seen)


def lose(jobs, *keys):
    """Take jobs and die."""
    for key in keys:
        assert jobs.claim(key, "dead", "dead", jobs.all().get(key))
    jobs.release_dead("dead")


def get_on(jobs, key):
    jobs.claim(key, "alive", "alive", jobs.all().get(key))
    assert jobs.heartbeat(key, "alive", 1, progressed=True)


def seen_losses(leases, *keys):
    """Return the free jobs in the order in which a worker would take them, with the losses held against them."""
    return [(key, job.attempts_without_progress if job else 0) for key, job in leases.free(dict.fromkeys(keys, False))]


@pytest.mark.usefixtures("clock")
def test_a_loss_is_held_against_a_job_while_others_get_on(leases, jobs):
    lose(jobs, "trial/0")
    get_on(jobs, "trial/1")
    assert seen_losses(leases, "trial/0", "trial/1", "trial/2") == [("trial/0", 1), ("trial/2", 0)]


@pytest.mark.usefixtures("clock")
def test_a_loss_is_held_against_the_only_job_that_is_left(leases, jobs):
    get_on(jobs, "trial/1")
    lose(jobs, "trial/0")
    lose(jobs, "trial/0")
    assert seen_losses(leases, "trial/0") == [("trial/0", 2)]


@pytest.mark.usefixtures("clock")
def test_losses_at_the_same_time_are_held_against_nothing_and_these_jobs_are_tried_last(leases, jobs):
    lose(jobs, "trial/0", "trial/1")
    assert seen_losses(leases, "trial/0", "trial/1", "trial/2") == [("trial/2", 0), ("trial/0", 0)], "one by one"
    get_on(jobs, "trial/2")
    assert seen_losses(leases, "trial/0", "trial/1") == [("trial/1", 1), ("trial/0", 1)], "nothing else is left"
    get_on(jobs, "trial/3")
    assert seen_losses(leases, "trial/0", "trial/1") == [("trial/0", 1), ("trial/1", 1)]


@pytest.mark.usefixtures("clock")
def test_several_that_kill_their_workers_are_given_up_one_by_one_where_the_machine_can_train(leases, jobs):
    get_on(jobs, "trial/9")
    lose(jobs, "trial/0", "trial/1")
    taken = []
    for _ in range(3):
        taken += seen_losses(leases, "trial/0", "trial/1")
        lose(jobs, taken[-1][0])
    assert taken == [("trial/0", 1), ("trial/0", 2), ("trial/0", 3)]


@pytest.mark.usefixtures("clock")
def test_where_no_training_ever_got_on_all_are_tried_in_turn_and_none_is_given_up(leases, jobs):
    lose(jobs, "trial/0", "trial/1")
    taken = []
    for _ in range(4):
        ((key, seen),) = leases.free({"trial/0": False, "trial/1": False})
        taken.append((key, seen.attempts_without_progress))
        assert leases.take(key, seen)
        jobs.release_dead("me")
    assert taken == [("trial/0", 0), ("trial/1", 0), ("trial/0", 0), ("trial/1", 0)]


@pytest.mark.usefixtures("clock")
def test_what_was_lost_waits_for_an_attempt_that_will_tell(leases, jobs):
    lose(jobs, "trial/0")
    jobs.claim("trial/1", "other", "other", None)
    assert seen_losses(leases, "trial/0", "trial/1") == []
    assert seen_losses(leases, "trial/0", "trial/1", "trial/2") == [("trial/2", 0)]
    jobs.release_dead("other")
    assert seen_losses(leases, "trial/0", "trial/1") == [("trial/0", 0)]


@pytest.mark.usefixtures("clock")
def test_a_job_that_was_given_up_is_no_sign_that_others_get_on(leases, jobs):
    lose(jobs, "trial/0")
    jobs.claim("trial/1", "other", "other", None)
    jobs.finish("trial/1", "other", 0, progressed=False)
    assert seen_losses(leases, "trial/0", "trial/2") == [("trial/2", 0), ("trial/0", 0)]
    jobs.claim("trial/3", "other", "other", None)
    jobs.finish("trial/3", "other", 1)
    jobs.claim("trial/4", "other", "other", None)
    jobs.finish("trial/4", "other", 1)
    assert seen_losses(leases, "trial/0", "trial/2") == [("trial/0", 1), ("trial/2", 0)]


@pytest.mark.usefixtures("clock")
def test_what_was_lost_waits_while_there_is_more_that_nobody_has_begun(leases, jobs):
    lose(jobs, "trial/0")
    assert list(leases.free({"trial/0": True}, others=True)) == []
    get_on(jobs, "trial/1")
    assert [key for key, _ in leases.free({"trial/0": True}, others=True)] == ["trial/0"], "it is to blame"
