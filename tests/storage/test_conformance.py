"""Optuna's own tests of storages, on ours."""

import pytest
from optuna.storages import get_storage
from optuna.testing.pytest_storages import StorageTestCase

from sfgsearch.storage import open_storage

pytestmark = pytest.mark.slow

OF_MICROSECONDS = {
    "test_create_new_trial",
    "test_create_new_trial_with_template_trial",
    "test_get_trial",
    "test_get_all_trials",
}
"""Tests that compare times more finely than Optuna's columns in MySQL keep them, which is to the second."""


class TestOurStorage(StorageTestCase):
    @pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
    def storage(self, request, tmp_path):
        if request.param == "mariadb" and request.node.originalname in OF_MICROSECONDS:
            pytest.skip("Optuna's columns in MySQL keep times to the second")
        server = {"postgresql": "postgres", "mariadb": "mariadb"}.get(request.param)
        url = request.getfixturevalue(server)() if server else f"sqlite:///{tmp_path}/study.db"
        opened = open_storage(url)
        yield get_storage(opened)  # with the cache that studies put before it
        opened.remove_session()
        opened.engine.dispose()
