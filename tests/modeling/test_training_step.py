"""A training step queues its work on the GPU and never waits for it: shown without a GPU."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances
from fcos.utils.device import upload
from tests.helpers import tiny_cfg

aten = torch.ops.aten
# What needs a value, or a number of values, that only the device knows.
READS = {
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.nonzero_numpy,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._unique,
    aten._unique2,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index}


class NoWaiting(TorchDispatchMode):
    """Fails on every operation for which a device would have to be waited for.

    "cpu" stands for a GPU where all is computed on the CPU.
    """

    def __init__(self, device="cpu"):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket
        assert name not in READS or args[0].device.type != self.device, f"{func} reads"
        if name in INDEXING:
            for index in args[1]:
                assert index is None or index.dtype not in (torch.bool, torch.uint8), f"{func}"
        if name is aten.repeat_interleave:
            assert kwargs.get("output_size") is not None, f"{func} counts on the device"
        if name is aten._to_copy and not kwargs.get("non_blocking"):
            here, there = args[0].device.type, kwargs.get("device") or args[0].device
            assert here == torch.device(there).type, f"{func} from {here} to {there}"
        if name is aten.copy_ and not (len(args) > 2 and args[2]):
            assert args[0].device.type == args[1].device.type, f"{func} between devices"
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.to("meta"),
    ],
)
def test_waiting_is_noticed(wait):
    with pytest.raises(AssertionError), NoWaiting():
        wait(torch.ones(3))


def inputs(heights=(64, 80), width=96):
    """Two images of these heights; the first has two boxes."""
    images = []
    for height, count in zip(heights, (2, 0), strict=True):
        instances = Instances((height, width))
        corner = torch.arange(count)[:, None] * 8.0
        instances.gt_boxes = Boxes(torch.cat((corner, corner, corner + 30, corner + 40), dim=1))
        instances.gt_classes = torch.arange(count)
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        images.append({"image": image, "instances": instances})
    return images


SWITCHES = [
    [],
    ["MODEL.FCOS.LOSS_NORMALIZER", "moving_fg"],
    ["MODEL.FCOS.LOSS_NORMALIZER", "all", "MODEL.FCOS.BOX_QUALITY", "iou"],
    ["MODEL.FCOS.CENTER_SAMPLE", "True", "MODEL.FCOS.NORMALIZE_REG_TARGETS", "True"],
    ["MODEL.FCOS.LOC_LOSS_TYPE", "giou", "MODEL.FCOS.NORM", "GN", "MODEL.RESNETS.NORM", "FrozenBN"],
]


def model_of(switches):
    cfg = tiny_cfg()
    cfg.merge_from_list(switches)
    torch.manual_seed(0)
    return build_model(cfg).train()


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(s[1::2]) or "defaults")
@pytest.mark.parametrize("is_mixed", [False, True], ids=["float32", "bfloat16"])
def test_forward_backward_and_update_wait_for_nothing(switches, is_mixed):
    model = model_of(switches)
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9, foreach=True)
    batch = inputs()
    images = model.preprocess_image(batch)  # its sizes are numbers of the CPU: see the next test
    model.preprocess_image = lambda _: images
    with NoWaiting():
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(s[1::2]) or "defaults")
def test_a_batch_goes_to_the_gpu_without_waiting(switches):
    """From boxes on the CPU to losses on a GPU that is only imagined."""
    model = model_of(switches)
    with FakeTensorMode(allow_non_fake_inputs=True):
        imagine_on_gpu(model)
        batch = inputs()
        # Sizes are numbers of the CPU, but in imagination no tensor has values.
        images = ImageList(torch.zeros(2, 3, 96, 96, device="cuda"), [(64, 96), (80, 96)])
        model.preprocess_image = lambda _: images
        with NoWaiting("cuda"):
            losses = model(batch)
    assert all(value.device.type == "cuda" for value in losses.values())


def test_an_upload_waits_for_nothing():
    with FakeTensorMode(), NoWaiting("cuda"):
        assert upload(torch.zeros(3), torch.device("cuda")).device.type == "cuda"
        with pytest.raises(AssertionError, match="_to_copy.default from cpu to cuda"):
            torch.zeros(3).to("cuda")


def imagine_on_gpu(model):
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(torch.empty(value.shape, device="cuda")))
        for name, value in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(value.shape, dtype=value.dtype, device="cuda"))
