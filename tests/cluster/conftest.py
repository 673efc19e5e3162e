import pytest
from cluster_study import ClusterStudy


@pytest.fixture
def cluster_study(tmp_path, postgres):
    """Give a study on a shared disk and a server."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return ClusterStudy(folder, postgres)
