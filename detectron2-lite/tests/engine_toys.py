"""A model, a data set and a trainer so small that an iteration takes a millisecond."""

import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer
from detectron2.modeling import META_ARCH_REGISTRY


class Parabola(nn.Module):
    """Two losses of one weight w, which begins at 1: x * w (gradient x) and w ** 2 (2 w)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return {"loss_line": x * self.w, "loss_square": self.w**2}


def ones():
    while True:
        yield torch.ones(())


def simple_trainer(model=None, data=None, lr=0.1, **kwargs):
    model = model or Parabola()
    optimizer = torch.optim.SGD(model.parameters(), lr)
    return SimpleTrainer(model, ones() if data is None else data, optimizer, **kwargs)


class Probe(HookBase):
    """Appends (name, event, iteration of the trainer) to a list."""

    def __init__(self, log, name="probe"):
        self.log = log
        self.name = name

    def _record(self, event):
        self.log.append((self.name, event, self.trainer.iter))

    def before_train(self):
        self._record("before_train")

    def after_train(self):
        self._record("after_train")

    def before_step(self):
        self._record("before_step")

    def after_backward(self):
        self._record("after_backward")

    def after_step(self):
        self._record("after_step")


@META_ARCH_REGISTRY.register()
class TinyRegressor(nn.Module):
    """Fits y = 2x. In evaluation mode, it answers with what it was given and its weight."""

    def __init__(self, cfg):
        super().__init__()
        self.linear = nn.Linear(1, 1)
        with torch.no_grad():
            self.linear.weight.fill_(0.5)
            self.linear.bias.fill_(0.0)

    def forward(self, batch):
        if not self.training:
            return [{"input": x, "weight": self.linear.weight.item()} for x in batch]
        x = torch.as_tensor(batch).reshape(-1, 1)
        return {"loss": (self.linear(x) - 2 * x).pow(2).mean()}


def tiny_cfg(output_dir, *options):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "TinyRegressor"
    cfg.OUTPUT_DIR = str(output_dir)
    cfg.DATASETS.TEST = ()
    cfg.SOLVER.MAX_ITER = 45
    cfg.SOLVER.STEPS = (30,)
    cfg.SOLVER.WARMUP_ITERS = 5
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.CHECKPOINT_PERIOD = 20
    cfg.SEED = 1
    cfg.merge_from_list(list(options))
    return cfg


class Numbers:
    """Batches of two numbers, the same ones from every beginning."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.rand(2, generator=generator)


class TinyTrainer(DefaultTrainer):
    @classmethod
    def build_train_loader(cls, cfg):
        return Numbers()

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return [[dataset_name]]
