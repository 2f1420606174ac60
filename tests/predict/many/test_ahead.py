"""Images are read before they are needed, but not all of them."""

import numpy as np

from fcos.predict.many.ahead import read_ahead
from fcos.utils.errors import UserError


def test_batches_keep_their_order_and_problems_are_sentences():
    def read(path):
        if path == "b":
            raise UserError("Image b is broken.")
        if path == "c":
            raise OSError("stale file handle")
        return np.full((2, 2, 3), ord(path), np.uint8)

    batches = [[(0, "a"), (3, "b")], [(1, "c")], [(2, "d")]]
    found = list(read_ahead(batches, threads=2, batch_size=2, read=read))
    assert [[(i, path) for i, path, _ in batch] for batch in found] == batches
    (a, b), (c,), (d,) = [[pixels for _, _, pixels in batch] for batch in found]
    assert (a[0, 0, 0], d[0, 0, 0]) == (ord("a"), ord("d"))
    assert b == "Image b is broken."
    assert c == "Image c could not be read (stale file handle)."


def test_a_few_batches_wait():
    def read(path):
        return np.zeros((1, 1, 3), np.uint8)

    taken = []
    batches = ([(i, "a")] for i in range(1000) if taken.append(i) is None)
    found = read_ahead(batches, threads=4, batch_size=1, read=read)
    next(found)
    assert len(taken) == 9  # two for each thread, and the one that came
    found.close()
    assert len(taken) == 9
