"""Does a training give the same losses somewhere else: another detectron2, more processes?

    python -m benchmarks.same_losses record here.json --config-file configs/digits_mask.yaml
    python -m benchmarks.same_losses record there.json --config-file configs/digits_mask.yaml
    python -m benchmarks.same_losses compare here.json there.json

``record`` trains for 20 iterations and writes every loss of each; run it once in each environment,
or with ``--num-gpus 2`` for two processes. ``compare`` prints the largest relative
difference of each loss, and where it lies.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from typing import Any


def record(args: argparse.Namespace) -> None:
    """One process of the training; the main one writes ``args.file``."""
    import torch

    import detectron2
    from detectron2.engine import HookBase
    from detectron2.utils import comm
    from fcos.config import get_cfg
    from fcos.data import register_custom_datasets
    from fcos.engine import Trainer

    losses: list[dict[str, float]] = []

    class Note(HookBase):
        def after_step(self) -> None:
            latest = self.trainer.storage.latest()
            losses.append({k: float(v) for k, (v, _) in latest.items() if is_compared(k)})

    class Precise(Trainer):
        @classmethod
        def build_model(cls, cfg: Any) -> Any:
            # Seeded here: what a package draws while it is imported differs between environments.
            torch.manual_seed(cfg.SEED)
            model = super().build_model(cfg)
            return model.double() if args.double else model

    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    with tempfile.TemporaryDirectory() as folder:
        own = ["OUTPUT_DIR", folder, "DATASETS.TEST", "()", "SOLVER.MAX_ITER", args.iterations]
        cfg.merge_from_list([*own, "SOLVER.STEPS", "()"])
        cfg.freeze()
        register_custom_datasets(cfg)
        trainer = Precise(cfg)
        trainer.register_hooks([Note()])
        trainer.resume_or_load(resume=False)
        trainer.train()
        comm.synchronize()
    if comm.is_main_process():
        what = f"detectron2 {detectron2.__version__}, {comm.get_world_size()} process(es)"
        with open(args.file, "w") as file:
            json.dump({"where": what, "double": args.double, "losses": losses}, file)


def is_compared(name: str) -> bool:
    """Losses and, with masks, the number of regions that the main process learns them from."""
    return "loss" in name or name == "roi_heads/regions_per_image"


def compare(first: str, second: str) -> None:
    """Print how far the losses of two files are apart."""
    records = []
    for name in (first, second):
        with open(name) as file:
            records.append(json.load(file))
        print(f"{name}: {records[-1]['where']}, {len(records[-1]['losses'])} iterations")
    a, b = (r["losses"] for r in records)
    if len(a) != len(b) or any(x.keys() != y.keys() for x, y in zip(a, b, strict=True)):
        sys.exit("The files have different losses or numbers of iterations.")
    for name in a[0]:
        apart = [
            abs(x[name] - y[name]) / max(abs(x[name]), 1e-12) for x, y in zip(a, b, strict=True)
        ]
        at = max(range(len(apart)), key=apart.__getitem__)
        print(
            f"{name:27} {apart[0]:.1e} at the first iteration, at most {apart[at]:.1e} "
            f"(iteration {at}: {a[at][name]:.6f} and {b[at][name]:.6f})"
        )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_losses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command")
    one = commands.add_parser("record")
    one.add_argument("file")
    one.add_argument("--config-file", required=True)
    one.add_argument("--iterations", type=int, default=20)
    one.add_argument("--num-gpus", type=int, default=1, help="processes, also on the CPU")
    one.add_argument("--double", action="store_true", help="weights in double precision")
    one.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE ...; last")
    two = commands.add_parser("compare")
    two.add_argument("files", nargs=2)
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    if args.command == "compare":
        compare(*args.files)
    else:
        from detectron2.engine import launch

        launch(record, args.num_gpus, dist_url="auto", args=(args,))


if __name__ == "__main__":
    main()
