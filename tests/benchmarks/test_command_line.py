"""The command line: what it runs, what it writes, and one sentence for each mistake."""

import json

import pytest

from benchmarks.__main__ import choose, main, works
from benchmarks.settings import Settings
from fcos.utils.errors import UserError


def test_a_small_run(tmp_path, capsys):
    path = str(tmp_path / "a.json")
    arguments = ["--smoke", "--only", "targets-3", "postprocess-1", "--repeats", "2"]
    assert main([*arguments, "--threads", "1", "--json", path]) == 0
    said = capsys.readouterr().out
    assert "targets-3" in said and "postprocess-1" in said and "1 thread(s)" in said
    content = json.loads((tmp_path / "a.json").read_text())
    assert {r["work"] for r in content["results"]} == {"targets-3", "postprocess-1"}
    assert all(len(r["ours"]["seconds"]) == 2 for r in content["results"])
    assert content["machine"]["versions"]["torch"]

    assert main([*arguments[:3], "--repeats", "1", "--threads", "1", "--compare", path]) == 0
    said = capsys.readouterr().out
    assert "ours old" in said and "Only in the old file: postprocess-1." in said
    assert main(["--compare", path, path]) == 0
    assert "ours old" in capsys.readouterr().out


def test_list_names_all_works(capsys):
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    for work in ("targets-1000", "losses", "inference-8", "training-2", "loader", "startup"):
        assert work in said


def test_only_takes_names_and_their_beginnings():
    names = works(Settings(size="smoke"))
    assert choose(names, None) == names
    assert choose(names, ["targets"]) == ["targets-3", "targets-20"]
    assert choose(names, ["targets-3"]) == ["targets-3"]
    assert choose(names, ["postprocess-dense"]) == ["postprocess-dense-1"]
    with pytest.raises(UserError, match="--only target: no such work"):
        choose(names, ["target"])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--only", "nothing"], "--only nothing: no such work; there are targets-7,"),
        (["--device", "nowhere"], "--device is 'nowhere': expected cpu, cuda"),
        (["--device", "meta"], "--device is meta: only cpu and cuda are measured."),
        (["--device", "cuda:99"], "--device is cuda:99, but torch finds"),
        (["--dtype", "int8"], "--dtype is int8: expected one of float32,"),
        (["--repeats", "0"], "--repeats is 0: expected at least 1."),
        (["--batch", "-1"], "--batch is -1: expected at least 1."),
        (["--threads", "0"], "--threads is 0: expected at least 1."),
        (["--compare", "no/such.json"], "no/such.json cannot be read: No such file"),
        (["--json", "no/such/a.json"], "no/such/a.json cannot be written: "),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, sentence):
    assert main([*arguments, "--smoke"] if "--only" not in arguments else arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"Error: {sentence}")
    assert said.err.count("\n") == 1
    assert "targets" not in said.out  # and before anything is measured


def test_three_files_cannot_be_compared(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--compare", "a", "b", "c"])
    assert leaving.value.code == 2
    assert "one file or two" in capsys.readouterr().err


def test_growth_refuses_what_it_would_ignore(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--growth", "--compare", "a.json"])
    assert leaving.value.code == 2
    assert "leave out --compare" in capsys.readouterr().err


def test_one_kind_of_growth(tmp_path, capsys):
    path = tmp_path / "a.json"
    words = ["--growth", "--smoke", "--repeats", "1", "--threads", "1"]
    assert main([*words, "--only", "targets", "postprocess-images", "--json", str(path)]) == 0
    measured = json.loads(path.read_text())["growth"]
    assert [line["work"] for line in measured] == ["targets", "postprocess"]
    capsys.readouterr()
    assert main([*words, "--only", "postprocess-1"]) == 1
    error = "Error: --only postprocess-1: no such work; there are targets-boxes, losses-images, "
    assert capsys.readouterr().err.startswith(error)
    assert main([*words, "--list"]) == 0
    names = capsys.readouterr().out.split()
    assert choose(names, ["inference"]) == ["inference-images", "inference-megapixels"]
    assert choose(names, ["training"])[0] == "training-images"
