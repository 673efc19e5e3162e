"""The study's page in optuna-dashboard: graphs and note follow the study, and cost nobody anything."""

import json
import logging
import shutil
import time

import optuna
import pytest
from optuna.trial import TrialState
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from sqlalchemy import event

from sfgsearch import load_config
from sfgsearch._optuna import engine_of
from sfgsearch.reporting._note import note_markdown
from sfgsearch.reporting._study_page import GRAPHS, STATE, refresh_study_review
from sfgsearch.reporting._study_review import review_study
from sfgsearch.search import _study_page, load_study
from sfgsearch.storage import database_lock


@pytest.fixture
def trained(trained_study, tmp_path):
    """Return configuration and study of a copy of the trained study."""
    shutil.copytree(trained_study.parent, tmp_path / "copy")
    config = load_config(tmp_path / "copy" / trained_study.name)
    return config, load_study(config)


def attributes(study):
    return study._storage.get_study_system_attrs(study._study_id)


def test_the_page_shows_five_graphs_and_the_note(trained):
    config, study = trained
    assert refresh_study_review(study, config)
    graphs = get_plotly_graph_objects(attributes(study))
    assert set(graphs) == {f"sfgsearch-{name}" for name in GRAPHS}
    for text in graphs.values():
        graph = json.loads(text)
        assert graph["layout"]["height"] == 450, "cards of the dashboard are that high"
        assert graph["layout"]["title"]["text"].startswith("tiny: ")
    assert get_note(study) == note_markdown(review_study(study, config).note)
    assert len(get_note(study).splitlines()) == 5


def test_refreshing_again_changes_nothing_and_grows_nothing(trained):
    config, study = trained
    refresh_study_review(study, config)
    before = attributes(study)
    for _ in range(3):
        assert refresh_study_review(study, config, interval=0)
    after = attributes(study)
    before.pop(STATE), after.pop(STATE)
    assert after == before, "not even the version of the note"


def test_a_page_takes_two_transactions_and_few_statements(trained):
    config, study = trained
    commits, statements = [], []
    engine = engine_of(study)
    event.listen(engine, "commit", commits.append)
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    assert refresh_study_review(study, config)
    assert len(commits) == 2, "that somebody is at it, and the page"
    assert len(statements) < 25


def test_a_graph_that_gets_shorter_leaves_no_tail(trained):
    config, study = trained
    refresh_study_review(study, config)
    kept = attributes(study)
    fewer = optuna.create_study(study_name="tiny", storage=optuna.storages.InMemoryStorage())
    for key, value in kept.items():
        fewer._storage.set_study_system_attr(fewer._study_id, key, value)
    assert refresh_study_review(fewer, config, interval=0)
    assert set(attributes(fewer)) == set(kept)
    for text in get_plotly_graph_objects(attributes(fewer)).values():
        assert not json.loads(text)["data"], "a study without trials"


def test_once_in_a_while_is_enough_for_all_workers_together(trained):
    config, study = trained
    assert refresh_study_review(study, config, interval=1000)
    other = load_study(config)
    assert not refresh_study_review(other, config, interval=1000)
    assert refresh_study_review(other, config, interval=0)
    ahead = json.loads(attributes(study)[STATE]) | {"at": time.time() + 10_000}
    study._storage.set_study_system_attr(study._study_id, STATE, json.dumps(ahead))
    assert refresh_study_review(study, config, interval=1000), "a clock that is ahead stops nobody"


def test_whoever_finds_another_one_at_it_goes_on(trained):
    config, study = trained
    with database_lock(engine_of(study), f"page of {study.study_name}"):
        assert not refresh_study_review(study, config)
    assert STATE not in attributes(study)


def test_what_people_wrote_stays(trained):
    config, study = trained
    refresh_study_review(study, config)
    ours = get_note(study)
    save_note(study, ours + "\n\nMine.")
    study.enqueue_trial({"kind": "manual"})
    failed = study.ask()
    failed.set_user_attr("failure", "no memory")
    failed.set_user_attr("retry_with", "nothing")
    study.tell(failed, state=TrialState.FAIL)
    refresh_study_review(study, config, interval=0)
    assert get_note(study).endswith("\n\nMine.")
    assert f"missing for good: manual-{failed.number} (manual), trial {failed.number}: no memory" in get_note(study)
    assert "missing" not in ours
    save_note(study, "Mine alone.")
    refresh_study_review(study, config, interval=0)
    assert get_note(study) == "Mine alone."


def test_what_people_write_while_the_graphs_are_drawn_stays(trained, monkeypatch):
    config, study = trained
    refresh_study_review(study, config)
    other, draw = load_study(config), _study_page.study_graphs

    def draw_slowly(study, review):
        save_note(other, get_note(other) + "\n\nLook at trial 4." + " And so on." * 500)
        return draw(study, review)

    monkeypatch.setattr(_study_page, "study_graphs", draw_slowly)
    monkeypatch.setattr(_study_page, "note_markdown", lambda _: "There is news.")
    assert refresh_study_review(study, config, interval=0)
    assert get_note(study).startswith("There is news.\n\nLook at trial 4. And so on.")
    assert get_note(study).count(" And so on.") == 500


def test_a_note_from_before_is_not_overwritten(trained):
    config, study = trained
    save_note(study, "Mine.")
    assert refresh_study_review(study, config)
    assert get_note(study) == "Mine."


def test_a_failure_is_a_warning(trained, caplog):
    config, study = trained
    study._storage.set_study_system_attr(study._study_id, STATE, "no JSON")
    with caplog.at_level(logging.WARNING):
        assert not refresh_study_review(study, config)
    assert "tiny: its page was not refreshed: JSONDecodeError" in caplog.text


def test_a_page_that_has_no_news_is_left_as_it_is(trained):
    config, study = trained
    assert refresh_study_review(study, config, interval=0, only_news=True)
    assert not refresh_study_review(study, config, interval=0, only_news=True)
    assert refresh_study_review(study, config, interval=0)
    other = config.model_copy(update={"comparison": config.comparison.model_copy(update={"seeds": 7})})
    assert refresh_study_review(study, other, interval=0, only_news=True)
    study.enqueue_trial({"kind": "manual"})
    assert refresh_study_review(study, other, interval=0, only_news=True)
