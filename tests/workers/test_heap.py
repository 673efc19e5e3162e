import gc
import weakref

import pytest

from sfgsearch.workers._heap import settle_heap, settled_heap


@pytest.fixture(autouse=True)
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


class Ring:
    def __init__(self):
        self.itself = self


def test_what_lives_before_the_block_is_spared_in_it_and_what_comes_later_is_not():
    before = Ring()
    with settled_heap():
        later = Ring()
        seen = {id(found) for found in gc.get_objects()}
        assert id(later) in seen
        assert id(before) not in seen
    assert id(before) in {id(found) for found in gc.get_objects()}


def test_garbage_from_before_is_not_kept():
    ring = Ring()
    watched = weakref.ref(ring)
    del ring
    with settled_heap():
        assert watched() is None


def test_a_process_that_was_settled_already_stays_so():
    settle_heap()
    with settled_heap():
        pass
    assert gc.get_freeze_count() > 0


def test_a_block_that_fails_ends_it():
    with pytest.raises(RuntimeError), settled_heap():
        raise RuntimeError
    assert gc.get_freeze_count() == 0
