"""Whether all processes of a training have the same config."""

from __future__ import annotations

from detectron2.utils import comm
from fcos.config.config import CfgNode
from fcos.utils.errors import UserError
from fcos.utils.nested import flat

__all__ = ["check_same_config"]

_MAY_DIFFER = {"OUTPUT_DIR", "MODEL.WEIGHTS"}  # paths, which may be others on other machines
_NAMED = 3


def check_same_config(cfg: CfgNode, **options: object) -> None:
    """Refuse processes with different configs, as of commands that were typed on each machine.

    Every process must call this.

    Args:
        cfg: the config of this process.
        options: of its command line, by name, which have to be the same as well.

    Raises:
        UserError: it differs from that of the first process, in any process.
    """
    if comm.get_world_size() == 1:
        return
    values = {**options, **flat(cfg)}
    mine = {key: str(value) for key, value in values.items() if key not in _MAY_DIFFER}
    configs = comm.all_gather(mine)
    for rank, config in enumerate(configs):
        first = configs[0]
        changed = [key for key in {**first, **config} if first.get(key) != config.get(key)]
        if changed:
            named = ", ".join(
                f"{key} is {first.get(key)} in process 0 and {config.get(key)} in process {rank}"
                for key in changed[:_NAMED]
            )
            more = f" (and {len(changed) - _NAMED} more)" if len(changed) > _NAMED else ""
            error = UserError(
                f"The processes have different configs: {named}{more}; start all with one."
            )
            error.in_all_processes = True
            raise error
