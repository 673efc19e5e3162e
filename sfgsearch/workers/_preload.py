"""What the process imports from which workers are forked: it is ready to open a study, to train and to draw.

So are they at once, which would take each of them half a second.
"""

from contextlib import suppress
from importlib import import_module

from sfgsearch.search._trial_page import prepare_reviews
from sfgsearch.workers._heap import settle_heap

for _module in ("alembic.migration", "alembic.script", "sqlalchemy.dialects.postgresql.psycopg", "psycopg", "pymysql"):
    with suppress(ImportError):  # the driver of a database that is not used here
        import_module(_module)
prepare_reviews(has_pictures=True)
settle_heap()
