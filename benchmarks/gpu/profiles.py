"""Where the time of R-50 at 800x1333 goes: kernels, waits, memory, and the limit by arithmetic."""

from __future__ import annotations

import statistics
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import ours
from benchmarks.confidence import apart, confident
from benchmarks.gpu.running import ROOT, Table, Work
from benchmarks.memory import peak_of_tensors
from benchmarks.rows.training import step
from benchmarks.scenes import count, pictures, truths
from benchmarks.settings import Settings
from detectron2.modeling import build_model
from fcos.config import get_cfg
from fcos.modeling.optimize import optimize_for_inference

CONFIG = "configs/R_50_1x.yaml"
DTYPES = {"cuda": "bfloat16", "cpu": "float32"}  # not every CPU computes in bfloat16
BOXES = 7
OURS = tuple(f"{ROOT}/{part}/" for part in ("benchmarks", "detectron2-lite", "fcos", "tests"))
KERNELS = 10
REPEATS = 5


def detector(device: str) -> Any:
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / CONFIG))
    cfg.merge_from_list(["MODEL.WEIGHTS", "", "MODEL.DEVICE", device])
    torch.manual_seed(0)
    return build_model(cfg)


@torch.no_grad()
def make_confident(model: Any, image: dict[str, Any]) -> None:
    """Let a random model detect about as much as a trained one."""
    model.eval()
    features = model.backbone(model.preprocess_image([image]).tensor)
    generator = model.proposal_generator
    cls, reg, _ = generator.fcos_head([features[name] for name in generator.in_features])
    confident(generator.fcos_head.cls_logits, torch.cat([x.flatten() for x in cls]), 300)
    apart(generator.fcos_head.bbox_pred, torch.cat([x.flatten() for x in reg]))


def works(device: str, is_smoke: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is looked at: a title, and a function that does it once."""
    images, size = (1, (96, 128)) if is_smoke else (16, (800, 1333))
    precision = DTYPES[device]
    said = f"{count(images)} of {size[0]}x{size[1]}, {precision}"
    given = [{"image": image.to(device)} for image in pictures(images, size)]
    model = detector(device)
    make_confident(model, given[0])
    model = optimize_for_inference(model, precision)

    def infer() -> None:
        with torch.inference_mode():
            model(given)

    yield f"inference after optimize_for_inference, {said}", infer
    boxes = ours.instances(truths(images, BOXES, size), size, device)
    batch = [{**image, "instances": b} for image, b in zip(given, boxes, strict=True)]
    settings = Settings(device=device, dtype=precision)
    yield f"training step, {said}", step(detector(device), settings, batch)


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def median_seconds(run: Callable[[], Any], device: str) -> float:
    """Of a few runs, after one that is not counted."""
    run()
    seconds = []
    for _ in range(REPEATS):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_rate(device: str, side: int) -> float:
    """Floating-point operations in a second of a large matrix product."""
    dtype = getattr(torch, DTYPES[device])
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / median_seconds(lambda: a @ b, device)


@contextmanager
def noted_waits(device: str) -> Iterator[Counter[str]]:
    """Count, by the place in this repository, how often the program waits for the GPU."""
    waits: Counter[str] = Counter()

    def note(message: Any, *_: Any, **__: Any) -> None:
        if "synchronizing CUDA operation" not in str(message):
            return
        frames = [f for f in traceback.extract_stack() if f.filename.startswith(OURS)]
        inner = [f for f in frames if f.filename != __file__] or frames
        waits[f"{inner[-1].filename.removeprefix(f'{ROOT}/')}:{inner[-1].lineno}"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")


def costliest(run: Callable[[], Any], device: str) -> tuple[list[tuple[str, int, float]], float]:
    """Kernels of one run (on the CPU: operations): name, calls and seconds; and seconds of all."""
    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        run()
        synchronize(device)
    kernels = []
    for event in profiler.key_averages():
        if not on_gpu:
            kernels.append((event.key, event.count, event.self_cpu_time_total / 1e6))
        elif event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            kernels.append((event.key, event.count, event.self_device_time_total / 1e6))
    kernels.sort(key=lambda kernel: -kernel[2])
    return kernels[:KERNELS], sum(kernel[2] for kernel in kernels)


def look_at(
    title: str, run: Callable[[], Any], device: str, rate: float
) -> tuple[list[str], list[Table], dict[str, Any]]:
    """Facts, tables and data of one piece of work."""
    with FlopCounterMode(display=False) as counter:
        run()
    flops = counter.get_total_flops()
    seconds = median_seconds(run, device)
    with noted_waits(device) as waits:
        run()
    memory = peak_of_tensors(run, torch.device(device))[0]
    kernels, busy = costliest(run, device)
    limit = flops / rate
    facts = [
        f"{title}: {1000 * seconds:.3g} ms, {seconds / limit:.1f} times the {1000 * limit:.3g} ms "
        f"that {flops / 1e12:.3g} TFLOP take at the {rate / 1e12:.3g} TFLOP/s of a large product",
        f"its kernels take {1000 * busy:.3g} ms; it needs {memory / 1e9:.2f} GB beside weights and "
        f"images, and waits {sum(waits.values())} times for the GPU",
    ]
    rows = [["kernel", "calls", "ms", "share"]]
    rows += [[k[:90], str(n), f"{1000 * s:.2f}", f"{100 * s / busy:.0f} %"] for k, n, s in kernels]
    tables: list[Table] = [{"title": f"{title}: the costliest kernels", "rows": rows}]
    if waits:
        places = [["where", "times"], *([place, str(n)] for place, n in waits.most_common())]
        tables.append({"title": f"{title}: waits for the GPU", "rows": places})
    data = {"seconds": seconds, "flops": flops, "rate": rate, "bytes": memory, "busy": busy}
    return facts, tables, {**data, "waits": dict(waits), "kernels": kernels}


def main(work: Work) -> None:
    rate = peak_rate(work.device, 256 if work.is_smoke else 8192)
    facts, tables, data = [], [], {}
    for title, run in works(work.device, work.is_smoke):
        found = look_at(title, run, work.device, rate)
        facts += found[0]
        tables += found[1]
        data[title] = found[2]
        work.write(facts, tables, data=data)


if __name__ == "__main__":
    main(Work.of_this_process())
