import pytest

from sfgsearch.errors import StudyError
from sfgsearch.workers import share_devices, share_of_gpu


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


@pytest.mark.parametrize(
    ("workers", "gpus", "wanted", "share"),
    [(4, 0, None, 0.0), (4, 8, None, 1.0), (16, 4, None, 0.25), (3, 1, None, 0.3333), (4, 0, 0.5, 0.5)],
)
def test_workers_of_a_cluster_share_its_gpus(workers, gpus, wanted, share):
    assert share_of_gpu(workers, gpus, wanted) == share
    assert wanted is not None or workers * share <= max(gpus, 0) or share == 1.0


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_no_worker_of_a_cluster_asks_for_what_it_cannot_have(share):
    with pytest.raises(StudyError, match="--gpus-per-worker"):
        share_of_gpu(1, 1, share)
