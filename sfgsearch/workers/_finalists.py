"""Finalists as jobs."""

from __future__ import annotations

from functools import partial

from sfgsearch.errors import LeaseLostError, NonFiniteLossError, StudyError, TrainingInterrupted
from sfgsearch.records import Job, Lease
from sfgsearch.search import missing_finalists
from sfgsearch.search._failures import explain_failure
from sfgsearch.search._finalists import Finalist, is_given_up
from sfgsearch.search._retraining import retrain
from sfgsearch.storage import is_outage, outlast
from sfgsearch.workers._post import Post, died


class FinalistJobs:
    """Takes and trains the finalists of a study whose trials are over.

    Args:
        post: The worker's place.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self.left: dict[str, Finalist] = {}
        """What was missing and not given up when this was looked at last."""

    def remaining(self) -> dict[str, Finalist]:
        """Return the finalists that are missing and have not failed once too often, by job."""
        post = self._post
        missing = {finalist.job: finalist for finalist in missing_finalists(post.study, post.config)}
        jobs, retries = post.jobs.all(missing), post.config.execution.retries
        return {key: finalist for key, finalist in missing.items() if not is_given_up(jobs.get(key), retries)}

    def do_next(self) -> bool:
        """Train the next finalist that nobody trains; False if there is none."""
        self.left = remaining = self.remaining()
        for key, seen in self._post.claims.look(dict.fromkeys(remaining, False)):
            if self._post.claims.take(key, seen) and self._is_missing(key, remaining[key]):
                self._train(key, remaining[key], seen)
                return True
        return False

    def _is_missing(self, key: str, finalist: Finalist) -> bool:
        """Tell whether a finalist that was taken is still missing: another worker may just have finished it."""
        if not finalist.is_in(self._post.records.all(finalist.role, finalist.trial)):
            return True
        self._post.jobs.finish(key, self._post.claims.owner)
        return False

    def _train(self, key: str, finalist: Finalist, seen: Job | None) -> None:
        post, failure = self._post, None
        with post.holding(key, seen, self._hand_back) as (lease, session):
            try:
                if post.is_doomed(seen):
                    raise StudyError(died(seen))
                retrain(
                    post.objective,
                    post.records,
                    finalist,
                    study=post.study,
                    on_epoch=partial(post.listener.finalist_epoch, finalist),
                    session=session,
                    held=lease.held,
                )
            except LeaseLostError:
                post.listener.note(f"{key} went on elsewhere; its result here is dropped")
                return
            except TrainingInterrupted as leaving:
                self._hand_back(lease)
                post.listener.note(str(leaving))
                return
            except Exception as error:
                if is_outage(error):
                    raise
                failure = explain_failure(error, post.objective.experiment)
                # A loss that is not finite would not be so the next time.
                is_lost = post.is_doomed(seen)
                hopeless = isinstance(error, NonFiniteLossError) or is_lost
                times = 1 + post.config.execution.retries if hopeless else 1
                outlast(partial(post.jobs.fail, key, lease.owner, failure, times, fruitful=not is_lost))
            except BaseException:
                self._hand_back(lease)
                raise
        if failure is None:
            outlast(lambda: post.jobs.finish(key, lease.owner, lease.epochs))
        post.clear_checkpoints(key)
        post.listener.finalist_over(finalist, failure)
        post.refresh_page()

    def _hand_back(self, lease: Lease) -> None:
        self._post.jobs.release(lease.key, lease.owner)
