"""What is written is whole or absent, and nowhere else than where it was asked for."""

import contextlib
import errno
import itertools
import os
import stat

import numpy as np
import pytest
import torch
from PIL import Image

from fcos.utils import folders
from fcos.utils.errors import UserError
from fcos.utils.files import (
    append_to,
    check_writable,
    copy_file,
    write_by_name,
    write_text,
    write_whole,
)
from fcos.utils.folders import made_folder, subfolder
from tests.limits import limited_files

pytestmark = pytest.mark.cpu

BIG = 300_000  # bytes, more than any buffer
NOISE = np.random.default_rng(0).integers(0, 256, (200, 500, 3), np.uint8)  # BIG bytes


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS])
def test_what_the_operating_system_refuses_is_a_sentence(place, number):
    (place / "a").write_text("old")

    def write(file):
        file.write(b"new" * BIG)
        raise OSError(number, os.strerror(number))

    with pytest.raises(UserError) as caught:
        write_whole("a", write, "Make room.")
    assert str(caught.value) == f"a cannot be written: {os.strerror(number)}. Make room."
    assert (place / "a").read_text() == "old"
    assert os.listdir() == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, KeyError, UserError])
def test_whatever_happens_nothing_is_left(place, error):
    def write(file):
        file.write(b"new")
        raise error

    with pytest.raises(error):
        write_whole("a", write)
    with pytest.raises(error), write_by_name("a"):
        raise error
    with pytest.raises(error), made_folder("a"):
        raise error
    assert os.listdir() == []


WRITERS = {
    "bytes": lambda file: file.write(b"x" * BIG),
    "torch.save": lambda file: torch.save(torch.zeros(BIG), file),
    "np.save": lambda file: np.save(file, np.zeros(BIG)),
    "np.savez": lambda file: np.savez(file, a=np.zeros(BIG)),
    "JPEG": lambda file: Image.fromarray(NOISE).save(file, format="JPEG", quality=100),
    "PNG": lambda file: Image.fromarray(NOISE).save(file, format="PNG"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_libraries_overlook_no_error(place, name):
    with limited_files(100_000), pytest.raises(UserError) as caught:
        write_whole("a", WRITERS[name])
    assert str(caught.value).startswith(f"a cannot be written: {os.strerror(errno.EFBIG)}.")
    assert os.listdir() == []
    write_whole("a", WRITERS[name])
    assert os.listdir() == ["a"]


@pytest.mark.parametrize("missing", [1, 7])
def test_a_library_that_hides_a_full_disk(place, missing):
    def write():
        with write_by_name("a") as inner, open(inner, "wb", buffering=0) as file:
            assert file.write(b"a" * BIG) in (BIG, BIG - missing)  # and goes on

    with limited_files(BIG - missing), pytest.raises(UserError, match="a cannot be written: File"):
        write()
    assert os.listdir() == []
    write()
    assert os.path.getsize("a") == BIG


@pytest.mark.parametrize(
    "write", [write_whole, write_text, write_by_name], ids=lambda w: w.__name__
)
def test_nothing_goes_through_a_link(place, write):
    def go(path):
        if write is write_whole:
            write_whole(path, lambda file: file.write(b"new"))
        elif write is write_text:
            write_text(path, ["n", "ew"])
        else:
            with write_by_name(path) as inner, open(inner, "w") as file:
                file.write("new")

    (place / "secret").write_text("old")
    (place / "folder").mkdir()
    for name in ("a", "a.unfinished"):
        os.symlink("secret", name)
    go("a")
    os.remove("a")
    os.symlink("nowhere", "a")  # a link to nothing
    os.symlink("folder", "a.unfinished")
    go("a")
    assert (place / "a").read_text() == "new"
    assert not os.path.islink("a")
    assert (place / "secret").read_text() == "old"
    assert sorted(os.listdir()) == ["a", "folder", "secret"]
    assert os.listdir("folder") == []


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device"])
def test_a_device_is_not_replaced(place, kind):
    if kind == "pipe":
        os.mkfifo("a")
    elif kind == "folder":
        os.mkdir("a")
    else:
        os.symlink(os.devnull, "a")
    before = os.lstat("a")
    for write in (lambda: write_text("a", ["new"]), lambda: append_to("a")):
        with pytest.raises(UserError, match=r"^a cannot be written: it is a (folder|device|link)"):
            write()
    assert os.path.samestat(before, os.lstat("a"))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_two_programs_at_once(place):
    def write(file):
        file.write(b"first")
        write_text("a", ["second"])

    with pytest.raises(UserError, match="a cannot be written: another program writes the same"):
        write_whole("a", write)
    assert (place / "a").read_text() == "second"


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("a\0b", "no folder can have this name"),
        ("\ud800", "no folder can have this name"),
        ("x" * 300, "File name too long"),
        ("file", "File exists"),
        ("file/a", "Not a directory"),
        ("http://host/a", "is an address, to which nothing is written: name a folder"),
    ],
)
def test_a_folder_that_cannot_be(place, folder, why):
    (place / "file").touch()
    with pytest.raises(UserError, match=why):
        check_writable(folder)
    assert os.listdir() == ["file"]


def test_a_long_name(place):
    for name in ("n" * 255, "n" * 254 + "m"):
        write_text(name, ["whole"])
    assert sorted(os.listdir()) == sorted(["n" * 255, "n" * 254 + "m"])


def test_the_mode_is_that_of_a_new_file(place):
    write_text("a", ["x"])
    (place / "b").touch()
    assert os.stat("a").st_mode == os.stat("b").st_mode


def test_appending(place):
    for text in (b"1", b"2"):
        number = append_to("a")
        os.write(number, text)
        os.close(number)
    assert (place / "a").read_bytes() == b"12"
    with pytest.raises(UserError, match="a cannot be written: File exists"):
        append_to("a", new=True)
    os.symlink("a", "b")
    with pytest.raises(UserError, match="b cannot be written: it is a link; remove the link"):
        append_to("b")


def test_a_copy(place):
    (place / "a").write_bytes(b"x" * BIG)
    assert copy_file("a", "b") == "b"
    assert (place / "b").read_bytes() == b"x" * BIG
    with limited_files(100_000), pytest.raises(UserError, match="c cannot be written: File too"):
        copy_file("a", "c")
    with pytest.raises(UserError, match="nothing cannot be read: No such file"):
        copy_file("nothing", "c")
    assert sorted(os.listdir()) == ["a", "b"]


# ---- folders -------------------------------------------------------------------------------------


def make(path, text, **options):
    with made_folder(path, **options) as folder:
        write_text(os.path.join(folder, "file"), [text])


def test_a_folder_appears_whole(place):
    with made_folder("a") as folder:
        write_text(os.path.join(folder, "file"), ["x"])
        assert not os.path.exists("a")
    assert os.listdir() == ["a"]
    with pytest.raises(UserError, match="a cannot be written: Directory not empty"):
        make("a", "other")
    make("a", "other", replace=True)
    assert (place / "a" / "file").read_text() == "other"
    os.mkdir("empty")
    make("empty", "x")
    assert sorted(os.listdir()) == ["a", "empty"]


@pytest.mark.parametrize("at", range(6))
def test_a_folder_that_is_replaced_when_killed(place, monkeypatch, at):
    make("a", "old")
    steps = itertools.count()

    def stop_at(function):
        def stopped(*args):
            if next(steps) >= at:
                raise KeyboardInterrupt  # and nothing is cleaned up either
            function(*args)

        return stopped

    with monkeypatch.context() as patch:
        patch.setattr(folders, "remove", stop_at(folders.remove))
        patch.setattr(folders.os, "rename", stop_at(os.rename))
        with contextlib.suppress(KeyboardInterrupt):
            make("a", "new", replace=True)
    if os.path.exists("a"):
        assert (place / "a" / "file").read_text() in ("old", "new")
    make("a", "newer", replace=True)
    assert (place / "a" / "file").read_text() == "newer"
    assert os.listdir() == ["a"]


def test_a_planted_link_in_place_of_an_unfinished_folder(place):
    os.mkdir("secret")
    (place / "secret" / "file").write_text("old")
    os.symlink("secret", "a.unfinished")
    make("a", "new")
    assert (place / "secret" / "file").read_text() == "old"
    assert sorted(os.listdir()) == ["a", "secret"]


def test_the_current_folder_is_not_replaced(place):
    with pytest.raises(UserError, match="is the current folder"):
        make(str(place), "x")


def test_folders_below_one_that_is_named(place):
    os.mkdir("real")
    os.symlink("real", "named")  # the user's choice
    assert subfolder("named", "a", "b") == os.path.join("named", "a", "b")
    assert os.path.isdir("real/a/b")
    os.mkdir("elsewhere")
    os.symlink("../elsewhere", "real/planted")
    with pytest.raises(
        UserError, match=r"^named/planted is a link, so that files would be written"
    ):
        subfolder("named", "planted", "c")
    assert os.listdir("elsewhere") == []
