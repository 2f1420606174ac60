"""Pickles as data: what files of weights have is read; what fills the memory is refused."""

import collections
import io
import pickle
import resource
import struct
import zipfile

import numpy as np
import pytest
import torch

from fcos.checkpoint import read_checkpoint
from fcos.checkpoint.plain_pickle import Forbidden, read_pickle
from fcos.utils.errors import UserError

CONTENT = {
    "arrays": [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.float16))],
    "others": (np.array(7), np.zeros((0, 4), np.int8), np.array([True]), np.float32(0.5)),
    "order": np.arange(3, dtype=">f4"),
    "plain": [1, -(2**70), 1.5, None, True, "ü", b"\xff", bytearray(b"a"), 1j, {1}, frozenset([2])],
    "nested": collections.OrderedDict([("a", {"b": ()}), (("x", 1), [[]])]),
}


def read(content, **options):
    return read_pickle(io.BytesIO(content), len(content), **options)


def assert_same(got, want):
    if isinstance(want, (np.ndarray, np.generic)):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype.newbyteorder("=")
    elif isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            assert_same(got[key], want[key])
    elif isinstance(want, (list, tuple)):
        assert type(got) is type(want) and len(got) == len(want)
        for pair in zip(got, want, strict=True):
            assert_same(*pair)
    else:
        assert got == want and type(got) is type(want)


@pytest.mark.parametrize("protocol", range(6))
def test_what_files_of_weights_have(protocol):
    assert_same(read(pickle.dumps(CONTENT, protocol)), CONTENT)


def test_text_of_python_2():
    """Bytes in quotes, as its oldest protocol has them, and those of a length."""
    assert read(b"(dp0\nS'a\\xe9'\np1\nS\"b'\"\np2\ns.") == {"aé": "b'"}
    assert read(b"\x80\x02U\x02\xe9b.") == "éb"


MEMO = b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b"0N."
BYTES = b"cbuiltins\nbytearray\n(I64000000000\ntR."
SHAPE = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I64000000000\nt"
    b"cnumpy\ndtype\n(Vf4\nI00\nI01\ntRtR."
)
NESTED = b"}N" + b"\x85" * 1_000_000 + b"Ns."


@pytest.mark.parametrize("content", [MEMO, BYTES, SHAPE, NESTED], ids=lambda c: str(c[:20]))
def test_what_would_fill_the_memory(content, tmp_path):
    """Python's own unpickler takes 64 GB for the first three, and ends the process by the last."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "weights.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is truncated, damaged or no|holds a NoneType"):
        read_checkpoint(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_it_copies_no_more_than_it_holds():
    copy = b"cbuiltins\nlist\n(h\x00tR0"
    content = b"(" + b"N" * 20_000 + b"lq\x000" + copy * 10_000 + b"N."
    with pytest.raises(ValueError, match="it copies more than it holds"):
        read(content)


@pytest.mark.parametrize(
    "content, name",
    [
        (b"cos\nsystem\n(S'ls'\ntR.", "os.system"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"(S'ls'\nios\nsystem\n.", "the operation INST"),
        (b"Pa\n.", "an object outside of the file"),
    ],
)
def test_what_would_be_called(content, name):
    with pytest.raises(Forbidden, match=f"^{name}$"):
        read(content)


@pytest.mark.parametrize(
    "content", [b"", b"N", b".", b"\x80\x02", b"a.", b"t.", b"h\x05.", b"\xff"]
)
def test_broken_pickles(content):
    with pytest.raises((ValueError, LookupError, TypeError)):
        read(content)


# ---- files of torch ------------------------------------------------------------------------------


def saved(path, tensors, change):
    """Save tensors, and change what some records of the archive hold."""
    torch.save({"model": tensors}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, change(name.rpartition("/")[2], content))
    return str(path)


def refused(path, message):
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "state",
    [
        (3, "<", None, -1, -1, 0),  # as short, it ends the process: numpy believes it
        (3,),
        (),
        [3, "<", None, None, None, -1, -1, 0],
        (3, "<", None, ("a",), {"a": 1}, -1, -1, 0),
        (3, "<", None, None, None, 500, 1, 0),
        (3, "<", None, None, None, -1, -1, 255),
        (3, "?", None, None, None, -1, -1, 0),
    ],
    ids=str,
)
def test_a_type_of_numbers_is_as_numpy_writes_it(state, tmp_path):
    """In a file of torch, new or old, it goes to numpy itself."""

    class Written:
        def __reduce__(self):
            return np.dtype, ("f8", False, True), state

    path = tmp_path / "a.pth"
    for is_zip in (True, False):
        torch.save(
            {"model": {"a": torch.ones(1)}, "lr": Written()},
            path,
            _use_new_zipfile_serialization=is_zip,
        )
        refused(str(path), "a type of numbers that|an unknown byte order")
    torch.save({"model": {"a": torch.ones(1)}, "lr": np.arange(2.0)}, path)
    assert read_checkpoint(str(path))["lr"][1] == 1.0


def test_a_tensor_of_which_the_file_has_less(tmp_path):
    """torch reads on, whatever lies there in memory."""
    path = tmp_path / "a.pth"
    saved(path, {"a.b": torch.ones(9)}, lambda name, c: c[:8] if name == "0" else c)
    refused(str(path), r"the record 0 has not the 36 bytes of its tensor")


def test_an_archive_with_a_pickle_that_would_fill_the_memory(tmp_path):
    path = tmp_path / "a.pth"
    saved(path, {"a.b": torch.ones(2)}, lambda name, c: BYTES if name == "data.pkl" else c)
    refused(str(path), "a length instead of bytes")


def test_a_long_name(tmp_path):
    """torch takes the square of its length to say that it does not know it."""
    path, name = tmp_path / "a.pth", b"c" + b"x" * 100_000 + b"\na\n."
    saved(path, {"a.b": torch.ones(2)}, lambda n, c: name if n == "data.pkl" else c)
    refused(str(path), "a name of 100,002 characters")


@pytest.mark.parametrize(
    "tensor, what",
    [
        (torch.ones(2, device="meta"), "a tensor of the device 'meta', which has a shape and no"),
        (torch.ones(1).expand(10**12), "a tensor of 1,000,000,000,000 values, which repeats few"),
        (torch.eye(2).to_sparse(), "a tensor of the layout torch.sparse_coo"),
    ],
    ids=["meta", "repeated", "sparse"],
)
@pytest.mark.parametrize("key", ["model", "other"])
def test_tensors_without_their_values(tmp_path, tensor, what, key):
    path = tmp_path / "a.pth"
    torch.save({"model": {"a.b": torch.ones(1)}, key: {"c.d": tensor}}, path)
    refused(str(path), f"the entry 'c.d' is {what}")
