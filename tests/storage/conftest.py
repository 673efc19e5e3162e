import pytest


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request, tmp_path):
    """The URL of a new database of every kind."""
    server = {"postgresql": "postgres", "mariadb": "mariadb"}.get(request.param)
    return request.getfixturevalue(server)() if server else f"sqlite:///{tmp_path}/study.db"
