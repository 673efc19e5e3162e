import threading

import pytest
from sqlalchemy import create_engine

from sfgsearch.records import Records


@pytest.fixture(params=["sqlite", "postgresql"])
def jobs(request, tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else request.getfixturevalue("postgres")()
    engine = create_engine(url)
    records = Records(engine, "study")
    records.create_tables()
    yield records.jobs
    engine.dispose()


def take(jobs, key="trial/0", owner="a", seen=None):
    return jobs.claim(key, owner, f"worker {owner}", seen)


def test_a_job_is_taken_once(jobs):
    assert take(jobs)
    assert not take(jobs, owner="b")
    (job,) = jobs.all().values()
    assert (job.owner, job.worker, job.claims, job.finished) == ("a", "worker a", 1, False)


def test_of_many_workers_that_reach_for_a_new_job_one_gets_it(jobs):
    won, ready = [], threading.Barrier(8)

    def reach(owner):
        ready.wait()
        if take(jobs, owner=owner):
            won.append(owner)

    threads = [threading.Thread(target=reach, args=[str(number)]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [jobs.all()["trial/0"].owner]


def test_a_job_whose_owner_was_silent_is_taken_over_once(jobs):
    take(jobs)
    seen = jobs.all()["trial/0"]
    assert take(jobs, owner="b", seen=seen)
    assert not take(jobs, owner="c", seen=seen)
    job = jobs.all()["trial/0"]
    assert (job.owner, job.claims, job.attempts_without_progress) == ("b", 2, 2)


def test_a_sign_of_life_between_look_and_reach_keeps_the_job(jobs):
    take(jobs)
    seen = jobs.all()["trial/0"]
    assert jobs.heartbeat("trial/0", "a", 0, progressed=False)
    assert not take(jobs, owner="b", seen=seen)


def test_who_lost_a_job_can_neither_beat_nor_end_it(jobs):
    take(jobs)
    take(jobs, owner="b", seen=jobs.all()["trial/0"])
    assert not jobs.heartbeat("trial/0", "a", 3, progressed=True)
    assert not jobs.release("trial/0", "a")
    assert not jobs.fail("trial/0", "a", "reason")
    assert not jobs.finish("trial/0", "a")
    assert jobs.all()["trial/0"].owner == "b"


def test_a_finished_epoch_makes_a_job_fruitful(jobs):
    take(jobs)
    take(jobs, owner="b", seen=jobs.all()["trial/0"])
    jobs.heartbeat("trial/0", "b", 0, progressed=False)
    assert jobs.all()["trial/0"].attempts_without_progress == 2
    jobs.heartbeat("trial/0", "b", 1, progressed=True)
    job = jobs.all()["trial/0"]
    assert (job.epoch, job.attempts_without_progress) == (1, 0)


def test_a_released_job_is_free_and_not_held_against_it(jobs):
    take(jobs)
    assert jobs.release("trial/0", "a")
    job = jobs.all()["trial/0"]
    assert (job.owner, job.attempts_without_progress) == (None, 0)
    assert take(jobs, owner="b", seen=job)


def test_failures_add_up_and_keep_the_last_reason(jobs):
    take(jobs)
    jobs.fail("trial/0", "a", "first")
    take(jobs, seen=jobs.all()["trial/0"])
    jobs.fail("trial/0", "a", "second", times=3)
    job = jobs.all()["trial/0"]
    assert (job.owner, job.failures, job.reason) == (None, 4, "second")


def test_the_jobs_of_a_dead_worker_are_freed_and_no_others(jobs):
    take(jobs, "trial/0", "a")
    take(jobs, "trial/1", "a")
    take(jobs, "trial/2", "b")
    assert jobs.release_dead("a") == 2
    assert {key: job.owner for key, job in jobs.all().items()} == {"trial/0": None, "trial/1": None, "trial/2": "b"}
    assert jobs.release_dead() == 1


def test_jobs_are_a_study_s_own(jobs):
    take(jobs)
    other = Records(jobs._engine, "other").jobs
    assert other.all() == {}
    assert take(other)
    other.clear()
    assert list(jobs.all(["trial/0", "trial/1"])) == ["trial/0"]


def test_times_have_their_zone(jobs):
    take(jobs)
    job = jobs.all()["trial/0"]
    assert job.heartbeat_at.utcoffset().total_seconds() == 0
    assert job.claimed_at == job.heartbeat_at
