"""Import packages in another process, which may crash, and report what each is.

``python fcos_cli/probing.py torch cv2 ...`` prints a line of JSON before and after each import. It
runs alone: it imports nothing of this package, and works where torch is broken.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from typing import Any


def about_torch(torch: Any) -> dict[str, Any]:
    """Say what torch sees of GPUs, and what it warns of when it looks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_there = torch.cuda.is_available()
    number = torch.cuda.device_count() if is_there else 0
    built_for = torch.cuda.get_arch_list() if is_there else []
    return {
        "cuda": torch.version.cuda or getattr(torch.version, "hip", None),
        "gpus": [torch.cuda.get_device_name(i) for i in range(number)],
        "kinds": [
            f"sm_{''.join(map(str, torch.cuda.get_device_capability(i)))}" for i in range(number)
        ],
        "built_for": built_for,
        "warnings": [str(w.message).split("(Triggered")[0].strip() for w in caught],
    }


ABOUT = {"torch": about_torch}


def main(names: list[str]) -> None:
    """Import one after the other, and print what came of it."""
    for name in names:
        print(json.dumps({"begun": name}), flush=True)
        found: dict[str, Any] = {"name": name}
        try:
            module = importlib.import_module(name)
            found["version"] = str(getattr(module, "__version__", "") or "")
            found["file"] = str(getattr(module, "__file__", "") or "")
            found.update(ABOUT[name](module) if name in ABOUT else {})
        except BaseException as error:  # a broken library raises errors of every type
            text = " ".join(str(error).split())
            found.update(error=f"{type(error).__name__}: {text}"[:300])
            found["is_missing"] = isinstance(error, ModuleNotFoundError) and error.name == name
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
