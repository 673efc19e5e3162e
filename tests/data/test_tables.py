"""Tables of a folder: missing cells, classes and their order, and tables that are not what they seem."""

import numpy as np
import pytest
from pictured_tables import SPLITS, by_row, write_folder

from sfgsearch.data import folder
from sfgsearch.errors import DataError

NUMBER = 40
SEX_AGE = {"sex": {"type": "classification"}, "age": {"type": "regression", "scale": 10.0}}
MARKS = ["", " ", "NA", "N/A", "nan", "NaN", "null", "None", "?"]


def sex(index):
    return "mf"[index % 2]


@pytest.mark.parametrize("mark", MARKS)
def test_missing_cells_are_missing_targets_and_never_a_class(tmp_path, mark):
    rows = [f"{{}},{mark if i % 3 == 0 else sex(i)},{mark if i % 3 == 1 else i}" for i in range(NUMBER)]
    data = folder(0, path=write_folder(tmp_path, "file,sex,age", rows), tasks=SEX_AGE)
    assert data.tasks[0].classes == ("f", "m")
    expected = [-1 if i % 3 == 0 else int(sex(i) == "m") for i in range(NUMBER)]
    np.testing.assert_array_equal(by_row(data, "sex"), expected)
    ages = [np.nan if i % 3 == 1 else i / 10 for i in range(NUMBER)]
    np.testing.assert_allclose(by_row(data, "age"), ages, rtol=1e-6)
    counts = {split: labels["sex"].present for split, labels in data.labels.items()}
    assert sum(counts.values()) == NUMBER - 14
    assert min(counts.values()) >= 3


@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize("missing", [["-1", "unknown"], [-1, "unknown"], [-1.0, " unknown"]])
def test_further_values_are_missing_on_request(tmp_path, of_all, missing):
    rows = [f"{{}},{'unknown' if i % 4 == 0 else sex(i)},{'-1.0' if i % 4 == 1 else i}" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,sex,age", rows)
    own = {} if of_all else {"missing": missing}
    tasks = {name: {**task, **own} for name, task in SEX_AGE.items()}
    data = folder(0, path=path, tasks=tasks, missing=tuple(missing) if of_all else ())
    assert (by_row(data, "sex") == -1).sum() == np.isnan(by_row(data, "age")).sum() == NUMBER // 4
    assert data.tasks[0].classes == ("f", "m")
    plain = folder(0, path=path, tasks=SEX_AGE)
    assert plain.tasks[0].classes == ("f", "m", "unknown")
    assert by_row(plain, "age").min() == np.float32(-0.1)


def test_an_empty_table_has_no_names_of_columns(tmp_path):
    path = write_folder(tmp_path, "file", [])
    (path / "labels.csv").write_text("")
    with pytest.raises(DataError, match=r"line 1 of .*labels\.csv is blank; put the names of the columns there"):
        folder(0, path=path, tasks=SEX_AGE)


def test_balanced_weights_belong_in_the_table_of_the_task_itself(tmp_path):
    path = write_folder(tmp_path, "file,sex", [f"{{}},{sex(i)}" for i in range(NUMBER)])
    reason = r"tasks\.sex\.class_weights: .*numbers.*\[tasks\.sex\] of the study file takes 'balanced'"
    with pytest.raises(DataError, match=reason):
        folder(0, path=path, tasks={"sex": {"type": "classification", "class_weights": "balanced"}})


def test_missing_values_of_a_table_are_a_list(tmp_path):
    path = write_folder(tmp_path, "file,sex", [f"{{}},{sex(i)}" for i in range(NUMBER)])
    with pytest.raises(DataError, match=r"tasks\.sex\.missing: must be a list of the values.*got 'unknown'"):
        folder(0, path=path, tasks={"sex": {"type": "classification", "missing": "unknown"}})
    with pytest.raises(DataError, match="no key 'ignore'; allowed: type, key, missing"):
        folder(0, path=path, tasks={"sex": {"type": "classification", "ignore": [1]}})


@pytest.mark.parametrize("write", [str, lambda i: f"{i}.0", lambda i: f" {i}. ", lambda i: f"{i}e0"])
def test_whole_numbers_are_classes_in_numeric_order(tmp_path, write):
    rows = [f"{{}},{write(i % 12)}" for i in range(120)]
    path = write_folder(tmp_path, "file,kind", rows)
    for options in ({}, {"num_classes": 12}):
        data = folder(0, path=path, tasks={"kind": {"type": "classification", **options}})
        assert data.tasks[0].classes == tuple(map(str, range(12)))
        np.testing.assert_array_equal(by_row(data, "kind"), np.arange(120) % 12)


def test_other_numbers_are_ordered_as_numbers_too(tmp_path):
    doses = ["0.5", "10", ".50", "2.25"]
    path = write_folder(tmp_path, "file,dose", [f"{{}},{doses[i % 4]}" for i in range(NUMBER)])
    data = folder(0, path=path, tasks={"dose": {"type": "classification"}})
    assert data.tasks[0].classes == ("0.5", "2.25", "10")
    np.testing.assert_array_equal(by_row(data, "dose"), [[0, 2, 0, 1][i % 4] for i in range(NUMBER)])


@pytest.mark.parametrize(
    ("classes", "names", "f"),
    [
        (["m", "f"], ("m", "f"), 1),
        (["x", "f", "m"], ("x", "f", "m"), 1),
        ({"m": "male", "f": "female"}, ("male", "female"), 1),
    ],
)
def test_classes_can_be_listed_and_named(tmp_path, classes, names, f):
    path = write_folder(tmp_path, "file,sex", [f"{{}},{sex(i)}" for i in range(NUMBER)])
    data = folder(0, path=path, tasks={"sex": {"type": "classification", "classes": classes}})
    assert (data.tasks[0].classes, data.tasks[0].num_classes) == (names, len(names))
    assert by_row(data, "sex")[1] == f


def test_names_of_whole_numbers(tmp_path):
    path = write_folder(tmp_path, "file,sex", [f"{{}},{i % 2}" for i in range(NUMBER)])
    for classes in (["male", "female"], {"0": "male", "1.0": "female"}):
        data = folder(0, path=path, tasks={"sex": {"type": "classification", "classes": classes}})
        assert data.tasks[0].classes == ("male", "female")
        np.testing.assert_array_equal(by_row(data, "sex"), np.arange(NUMBER) % 2)


@pytest.mark.parametrize("classes", [["1", "2", "3"], ["0.5", "1.5", "2.5"], ["1", "2", "more"]])
@pytest.mark.parametrize("first", [0, 2])
def test_names_that_are_other_numbers_are_refused(tmp_path, classes, first):
    path = write_folder(tmp_path, "file,grade", [f"{{}},{first + i % 3}" for i in range(NUMBER)])
    with pytest.raises(DataError, match=r"bad rows: .*\(\d is no class\).*tasks\.grade\.classes \(now "):
        folder(0, path=path, tasks={"grade": {"type": "classification", "classes": classes}})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"classes": ["f", "w"]}, r"20 bad rows: line 2 \(p0\.png\) \('m' is no class\).*classes \(now f, w\)"),
        ({"classes": {"m": "male"}}, "at least 2 classes"),
        ({"classes": {"1": "male", "1.0": "female"}}, "names a value twice: 1, 1.0"),
        ({"classes": {"m": "male", "f": "male"}}, "all distinct"),
        ({"num_classes": 3}, r"num_classes: is 3, but 'sex' holds 2 classes: f, m; .*name all with classes"),
        ({"missing": ["m", "f"]}, "holds no class at all, only missing ones"),
        ({"missing": ["m"]}, "holds a single class"),
    ],
)
def test_classes_that_do_not_fit_the_table_are_refused(tmp_path, options, reason):
    path = write_folder(tmp_path, "file,sex", [f"{{}},{sex(i)}" for i in range(NUMBER)])
    with pytest.raises(DataError, match=reason):
        folder(0, path=path, tasks={"sex": {"type": "classification", **options}})


@pytest.mark.parametrize("others", [("cat", "dog"), ("0.5", "1.5"), ("2", "x"), ("2", "0.5")])
def test_numbers_below_zero_are_asked_about_whatever_other_classes_are(tmp_path, others):
    values = [("-1", "-1.0", *others)[i % 4] for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,kind", [f"{{}},{value}" for value in values])
    task = {"type": "classification"}
    reason = r"20 bad rows: line 2 .*-1'? is no class\).*set tasks\.kind\.missing = \[-1\] if"
    with pytest.raises(DataError, match=reason):
        folder(0, path=path, tasks={"kind": task})
    data = folder(0, path=path, tasks={"kind": {**task, "missing": [-1]}})
    order = tuple(sorted(others))
    assert data.tasks[0].classes == order
    found = [order.index(value) if value in order else -1 for value in values]
    np.testing.assert_array_equal(by_row(data, "kind"), found)
    classes = dict(zip(("-1.0", *others), ("no", "a", "b"), strict=True))
    named = folder(0, path=path, tasks={"kind": {**task, "classes": classes}})
    assert named.tasks[0].classes == ("no", "a", "b")
    np.testing.assert_array_equal(by_row(named, "kind"), [max(0, i % 4 - 1) for i in range(NUMBER)])


@pytest.mark.parametrize("classes", [None, ["other", "1"], ["other", "1.0"], {"other": "other", "1e0": "1"}])
def test_a_number_is_one_class_however_it_is_written_beside_text(tmp_path, classes):
    values = ["1", "1.0", "other", "01"]
    path = write_folder(tmp_path, "file,kind", [f"{{}},{values[i % 4]}" for i in range(NUMBER)])
    options = {} if classes is None else {"classes": classes}
    data = folder(0, path=path, tasks={"kind": {"type": "classification", **options}})
    one = 0 if classes is None else 1
    np.testing.assert_array_equal(by_row(data, "kind"), [1 - one if i % 4 == 2 else one for i in range(NUMBER)])


def test_whole_numbers_of_many_digits_are_different_classes(tmp_path):
    values = ["12345678901234567891", "12345678901234567892"]
    path = write_folder(tmp_path, "file,kind", [f"{{}},{values[i % 2]}" for i in range(NUMBER)])
    assert folder(0, path=path, tasks={"kind": {"type": "classification"}}).tasks[0].classes == tuple(values)


@pytest.mark.parametrize("options", [{}, {"num_classes": 2}])
def test_numbers_below_zero_are_asked_about(tmp_path, options):
    path = write_folder(tmp_path, "file,sex", [f"{{}},{i % 3 - 1}" for i in range(NUMBER)])
    task = {"type": "classification", **options}
    with pytest.raises(
        DataError, match=r"14 bad rows: line 2 \(p0\.png\) \(-1 is no.*set tasks\.sex\.missing = \[-1\]"
    ):
        folder(0, path=path, tasks={"sex": task})
    data = folder(0, path=path, tasks={"sex": {**task, "missing": [-1]}})
    np.testing.assert_array_equal(by_row(data, "sex"), np.arange(NUMBER) % 3 - 1)
    assert data.tasks[0].classes == ("0", "1")
    named = folder(
        0, path=path, tasks={"sex": {"type": "classification", "classes": {"-1": "no", "0": "yes", "1": "both"}}}
    )
    np.testing.assert_array_equal(by_row(named, "sex"), np.arange(NUMBER) % 3)


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        ("file,sex,age", "{},m,5,7", r"40 bad rows: line 2 \(4 cells for 3 columns\).*write decimals with a point"),
        ("file,sex,age", "{},m", r"40 bad rows: line 2 \(2 cells for 3 columns\)"),
        ("file,sex,age,age", "{},m,5,6", "line 1 of .*labels.csv names the column 'age' twice"),
        ("file,sex,age, age", "{},m,5,6", "names the column 'age' twice"),
        ("file;sex;age", "{};m;5,7", "line 1 of .* separates columns by semicolons.*write commas"),
        ("file\tsex\tage", "{}\tm\t5", "separates columns by tabs"),
        ("file|sex|age", "{}|m|5", "separates columns by bars"),
        ("\nfile,sex,age", "{},m,5", r"line 1 of .*labels\.csv is blank; put the names of the columns there"),
        (",,\nfile,sex,age", "{},m,5", r"line 1 of .*labels\.csv is blank; put the names of the columns there"),
        ("sep=,\nfile,sex,age", "{},m,5", r"line 1 of .*labels\.csv is 'sep=,', .*; leave the line out"),
        ("sep=;\nfile;sex;age", "{};m;5", r"line 1 of .*labels\.csv is 'sep=;', .*; leave the line out"),
        ("SEP=\t\nfile;sex;age", "{};m;5", r"line 1 of .*labels\.csv is 'SEP=', .*; leave the line out"),
        ("file,sex,years", "{},m,5", "has no column 'age'; it has 'file', 'sex', 'years'"),
        ("file,sex,age", '{},"m"f,5', r"cannot read .*labels.csv \(line 2: "),
        ("file,sex,age", '{},"m\nf",5', r"40 bad rows: line 3 \(a line break in column 'sex'\);.*close the"),
        ("file,sex,age", '{},m,"', "cannot read .*unexpected end of data"),
    ],
)
def test_tables_that_are_not_what_they_seem_are_refused(tmp_path, header, row, reason):
    path = write_folder(tmp_path, header, [row] * (1 if row.endswith('"') else NUMBER))
    with pytest.raises(DataError, match=reason):
        folder(0, path=path, tasks=SEX_AGE)


def test_quotes_in_a_column_that_is_not_used_swallow_no_rows(tmp_path):
    rows = [f"{{}},{sex(i)},{i},{({3: chr(34) + '5 inch', 6: '6' + chr(34)}).get(i, 'ok')}" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,sex,age,note", rows)
    with pytest.raises(DataError, match=r"1 bad row: line 8 \(a line break in column 'note'\);.*close the .*quotes"):
        folder(0, path=path, tasks=SEX_AGE)


def test_decimal_commas_in_quotes_are_no_numbers(tmp_path):
    path = write_folder(tmp_path, "file,sex,age", [f'{{}},{sex(i)},"{i},5"' for i in range(NUMBER)])
    with pytest.raises(DataError, match=r"line 2 \(p0\.png\) \(age is '0,5', no finite number\).*decimals with"):
        folder(0, path=path, tasks=SEX_AGE)


def test_lines_are_those_of_the_file(tmp_path):
    rows = [f"{{}},{sex(i)},{i}" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,sex,age", rows)
    text = (path / "labels.csv").read_text().replace("p3.png,f,3", "\n\np3.png,f,old")
    (path / "labels.csv").write_text(text, encoding="utf-8-sig")
    with pytest.raises(DataError, match=r"1 bad row: line 7 \(p3\.png\)"):
        folder(0, path=path, tasks=SEX_AGE)


@pytest.mark.parametrize("mark", MARKS)
def test_groups_need_a_name_in_every_row(tmp_path, mark):
    rows = [f"{{}},{sex(i)},{mark if i == 4 else i // 2}" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,sex,patient", rows)
    with pytest.raises(DataError, match=r"1 bad row: line 6 \(nothing in column 'patient'\); fill in"):
        folder(0, path=path, tasks={"sex": SEX_AGE["sex"]}, groups="patient")


def test_patients_stay_together_however_their_numbers_are_written(tmp_path):
    rows = [f"{{}},{sex(i)},{i // 2}{'.0' if i % 2 else ''}" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,sex,patient", rows)
    data = folder(0, path=path, tasks={"sex": SEX_AGE["sex"]}, groups="patient")
    found = [set((getattr(data, split).images[:, 0, 0, 0] // 2).tolist()) for split in SPLITS]
    assert sum(map(len, found)) == len(set.union(*found)) == NUMBER // 2


def test_few_targets_are_spread_over_all_splits(tmp_path):
    rows = [f"{{}},{sex(i)},{i if i in (3, 17, 30) else ''}" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,sex,age", rows)
    for seed in range(4):
        labels = folder(seed, path=path, tasks=SEX_AGE).labels
        assert [labels[split]["age"].present for split in SPLITS] == [1, 1, 1]


def test_classes_are_divided_by_class(tmp_path):
    rows = [f"{{}},{'rare' if i % 10 == 0 else 'usual'}" for i in range(100)]
    data = folder(3, path=write_folder(tmp_path, "file,kind", rows), tasks={"kind": {"type": "classification"}})
    counts = [int((split.targets["kind"] == 0).sum()) for split in (data.train, data.validation, data.test)]
    assert [len(data.train), len(data.validation), len(data.test)] == [70, 15, 15]
    assert counts[0] == 7
    assert sorted(counts[1:]) == [1, 2]
