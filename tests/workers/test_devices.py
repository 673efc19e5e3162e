import pytest

from sfgsearch.errors import StudyError
from sfgsearch.workers import share_devices


def test_without_gpus_the_study_file_decides():
    assert share_devices(3, 0, None) == [None, None, None]


def test_workers_are_spread_over_gpus():
    assert share_devices(3, 2, None) == ["cuda:0", "cuda:1", "cuda:0"]


def test_shares_fill_one_gpu_after_the_other():
    assert share_devices(5, 2, 0.25) == ["cuda:0"] * 4 + ["cuda:1"]


@pytest.mark.parametrize(
    ("workers", "share", "reason"),
    [(9, 0.25, "2 GPUs serve 8 workers, not 9"), (1, 2.0, "at most 1"), (1, 0.0, "above 0"), (1, -1.0, "above 0")],
)
def test_shares_that_cannot_be_are_refused(workers, share, reason):
    with pytest.raises(StudyError, match=reason):
        share_devices(workers, 2, share)
