"""Instances: fields of one length."""

import copy
import pickle

import pytest
import torch
from golden_values import golden_npz
from torch.utils._python_dispatch import TorchDispatchMode

import detectron2
from detectron2.structures import Boxes, Instances


@pytest.fixture
def three():
    instances = Instances((10, 20))
    instances.scores = torch.tensor([0.1, 0.2, 0.3])
    instances.pred_boxes = Boxes(torch.arange(12.0).reshape(3, 4))
    instances.names = ["a", "b", "c"]
    return instances


def test_selection_equals_detectron2():
    golden = golden_npz("host_structures.npz")
    scores = torch.linspace(0, 1, 9)
    instances = Instances((100, 120), gt_boxes=Boxes(golden["a"]), gt_classes=torch.arange(9))
    strong = instances[scores > 0.4]
    joined = Instances.cat([instances[2], instances[[5, 1]], instances[6:8]])
    for name, result in [("instances_filtered", strong), ("instances_cat", joined)]:
        assert result.gt_boxes.tensor.tolist() == golden[f"{name}/boxes"].tolist()
        assert result.gt_classes.tolist() == golden[f"{name}/classes"].tolist()


def test_fields(three):
    assert (len(three), three.image_size) == (3, (10, 20))
    assert three.has("scores")
    assert not three.has("masks")
    assert three.get("names") == three.names == ["a", "b", "c"]
    assert list(three.get_fields()) == ["scores", "pred_boxes", "names"]
    three.set("scores", torch.zeros(3))
    assert three.scores.sum() == 0
    three.remove("names")
    assert not three.has("names")


def test_fields_that_are_not_there(three):
    with pytest.raises(AttributeError, match="masks"):
        _ = three.masks
    for call in (three.get, three.remove):
        with pytest.raises(KeyError, match="masks"):
            call("masks")


def test_length_is_checked(three):
    with pytest.raises(AssertionError, match=r"2 .*3"):
        three.classes = torch.zeros(2)
    with pytest.raises(AssertionError):
        Instances((1, 1), a=[1], b=[1, 2])
    with pytest.raises(NotImplementedError):
        len(Instances((1, 1)))
    assert len(Instances((1, 1), a=torch.zeros(0))) == 0


@pytest.mark.parametrize(
    ("index", "names"),
    [
        (0, ["a"]),
        (-1, ["c"]),
        (-3, ["a"]),
        (slice(1, None), ["b", "c"]),
        (slice(None, None, 2), ["a", "c"]),
        (slice(0, 0), []),
    ],
)
def test_indexing_with_lists_among_the_fields(three, index, names):
    picked = three[index]
    assert picked.names == names
    assert len(picked.pred_boxes) == len(picked.scores) == len(names)
    assert picked.image_size == (10, 20)


@pytest.mark.parametrize("index", [torch.tensor([True, False, True]), torch.tensor([0, 2]), [0, 2]])
def test_indexing_with_tensors(three, index):
    three.remove("names")
    picked = three[index]
    assert picked.pred_boxes.tensor[:, 0].tolist() == [0, 8]
    torch.testing.assert_close(picked.scores, torch.tensor([0.1, 0.3]))


class Counted(TorchDispatchMode):
    """Notes the operations that count what is true, for which a GPU has to be waited for."""

    def __init__(self):
        super().__init__()
        self.counts = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func is torch.ops.aten.index.Tensor and args[1][0].dtype == torch.bool
        if by_mask or func is torch.ops.aten.nonzero.default:
            self.counts.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not detectron2.__version__.endswith("+lite"), reason="lite only")
def test_a_mask_is_counted_once_and_not_for_every_field(three):
    three.remove("names")
    keep = torch.tensor([True, False, True])
    with Counted() as counted:
        chosen = three[keep]
    assert len(counted.counts) == 1
    assert chosen.scores.equal(three.scores[keep])
    assert chosen.pred_boxes.tensor.equal(three.pred_boxes.tensor[keep])
    for wrong in (torch.tensor([True]), torch.ones(4, dtype=torch.bool)):
        with pytest.raises(IndexError):
            three[wrong]


def test_index_out_of_range(three):
    for index in (3, -4):
        with pytest.raises(IndexError):
            three[index]


def test_iterating_is_refused(three):
    with pytest.raises(NotImplementedError):
        iter(three)


def test_cat(three):
    joined = Instances.cat([three, three[1]])
    assert joined.names == ["a", "b", "c", "b"]
    assert joined.pred_boxes.tensor[3].tolist() == [4, 5, 6, 7]
    assert joined.scores.shape == (4,)
    assert Instances.cat([three]) is three


def test_cat_refuses(three):
    for wrong in ([], [three, Instances((10, 21), scores=[1])], [three, "x"]):
        with pytest.raises(AssertionError):
            Instances.cat(wrong)
    with pytest.raises(KeyError, match="pred_boxes"):
        Instances.cat([three, Instances((10, 20), scores=torch.zeros(1))])
    odd = Instances((1, 1), odd=(1, 2))
    with pytest.raises(ValueError, match="tuple"):
        Instances.cat([odd, odd])


def test_to_moves_what_can_be_moved(three):
    moved = three.to("cpu")
    assert moved is not three
    assert moved.names is three.names
    assert moved.pred_boxes.tensor.tolist() == three.pred_boxes.tensor.tolist()


def test_underscore_names_are_plain_attributes(three):
    three._note = "x"
    assert three._note == "x"
    assert "_note" not in three.get_fields()


def test_copies(three):
    for other in (copy.deepcopy(three), pickle.loads(pickle.dumps(three))):
        assert str(other) == str(three)
        other.scores[0] = 9
        assert three.scores[0] != 9


def test_str():
    instances = Instances((10, 20), names=["a"], scores=torch.tensor([0.5]))
    assert str(instances) == repr(instances)
    assert str(instances) == (
        "Instances(num_instances=1, image_height=10, image_width=20, "
        "fields=[names: ['a'], scores: tensor([0.5000])])"
    )


@pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="detectron2 raises NotImplementedError"
)
def test_str_without_fields():
    assert str(Instances((1, 2))).startswith("Instances(num_instances=0")
