"""Tables, JSON and the comparison of two files, from results made by hand."""

import pytest

from benchmarks.growth import Growth, fit, growth_table
from benchmarks.measure import Measured, Result
from benchmarks.record import comparison, read, write
from benchmarks.settings import Settings
from benchmarks.table import details, seconds_text, table
from benchmarks.work import Agreement
from fcos.utils.errors import UserError

SETTINGS = Settings(size="smoke")


def result(work="targets-7", ours=(0.010, 0.010), peer=(0.040, 0.040), same=True):
    return Result(
        work,
        "what the work is",
        Measured("fcos", list(ours), 12_340_000, "tensors"),
        Measured("torchvision", list(peer), 830_000_000, "process"),
        Agreement(same, "labels equal" if same else "labels differ"),
        2,
    )


def test_a_line_of_the_table():
    head, rule, line = table([result()], 120).splitlines()
    assert [cell.strip() for cell in line.strip("| ").split("|")] == (
        ["targets-7", "torchvision", "10.0 ms", "40.0 ms", "4.00x", "12/830*", "0/0%", "yes"]
    )
    assert len(head) == len(rule) == len(line) <= 120


def test_who_does_not_agree_has_no_time():
    line = table([result(ours=(), peer=(), same=False)], 120).splitlines()[-1]
    assert line.count(" - |") == 5
    assert line.endswith("NO |")


def test_it_fits_into_80_columns():
    results = [result("postprocess-dense-1"), result("loader-workers", peer=(123.0, 145.0))]
    text = table(results, 80) + "\n" + details(results, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "|" not in table(results, 80)


def test_details_name_each_work_once():
    text = details([result(), result()], 100)
    assert text.count("what the work is") == 1
    assert text.count("torchvision: labels equal.") == 2


@pytest.mark.parametrize(
    "seconds, text",
    [(12.34, "12.3 s"), (123.4, "123 s"), (0.00999, "9.99 ms"), (0.0001, "100 us")],
)
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


def test_json_brings_back_the_results(tmp_path):
    path = str(tmp_path / "a.json")
    results = [result(), result("losses", (), (), same=False)]
    write(path, {"processor": "one"}, SETTINGS, results, [Growth("a", "b", [1.0], [2.0], [3.0])])
    content, again = read(path)
    assert again == results
    assert content["machine"] == {"processor": "one"}
    assert content["settings"]["size"] == "smoke"
    assert content["growth"][0]["seconds"] == [2.0]


def test_comparison_of_two_runs():
    before = [result(ours=(0.020,)), result("only-old")]
    after = [result(ours=(0.010,)), result("only-new")]
    lines = comparison(before, after, 120).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("| ").split("|")]
    assert cells[2:] == ["20.0 ms", "10.0 ms", "2.00x", "40.0 ms", "40.0 ms", "~1.00x"]
    assert lines[-2:] == ["Only in the old file: only-old.", "Only in the new file: only-new."]


def test_comparison_with_one_that_was_not_timed():
    text = comparison([result(ours=(), peer=(), same=False)], [result()], 120)
    assert "not timed" in text


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 9}', '{"format": 1}'])
def test_files_that_are_no_record(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="cannot be read" if content is None else "is not a file"):
        read(str(path))


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write(str(tmp_path / "no" / "a.json"), {}, SETTINGS, [])


def test_a_fitted_line_by_hand():
    line = fit([1, 2, 3], [3, 5, 7])
    assert (line.slope, line.base) == (pytest.approx(2), pytest.approx(1))
    assert line.r2 == pytest.approx(1)
    assert line.worst == pytest.approx(0, abs=1e-9)
    # 0, 0, 3: slope 1.5, base -2; the line says -0.5, 1, 2.5, so 0.5, -1 and 0.5 are left
    line = fit([1, 2, 3], [0, 0, 3])
    assert (line.slope, line.base) == (pytest.approx(1.5), pytest.approx(-2))
    assert line.r2 == pytest.approx(1 - 1.5 / 6)
    assert line.worst == pytest.approx(1 / 3)


def test_two_points_make_no_line():
    assert fit([1, 2], [3, 5]) is None
    assert fit([1, 2, 3], [4, 4, 4]).r2 == 1


def test_growth_table():
    lines = [
        Growth("targets", "boxes", [10, 20, 30], [0.15, 0.25, 0.35], [1e6, 2e6, 3e6]),
        Growth("losses", "images", [1, 2, 3], [0.1, 0.2, 0.4], [85882220.0] * 3),
        Growth("training", "processes", [1, 2], [0.5, 0.6], []),
    ]
    text = growth_table(lines, 80)
    words = "targets boxes 10..30 10.0 ms 50.0 ms 1.0000 0% 0.1 MB 0%"
    line = next(line for line in text.splitlines() if "10..30" in line)
    assert line.replace("|", " ").split() == words.split()
    assert " 0 MB" in next(line for line in text.splitlines() if "losses" in line)
    assert text.splitlines()[-1] == "training against processes: 500 ms with 1, 600 ms with 2."
    assert max(map(len, text.splitlines())) <= 100
