"""Nested mappings under dotted keys."""

from fcos.utils.nested import flat


def test_flat_by_hand():
    node = {"A": {"B": 1, "C": {"D": [2], "E": {}}}, "F": None}
    assert flat(node) == {"A.B": 1, "A.C.D": [2], "A.C.E": {}, "F": None}
    assert flat({"B": {"C": 1}}, "A.") == {"A.B.C": 1}
