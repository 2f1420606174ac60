"""One row for each key of the config: what it may be, and what it does.

From these rows come the defaults of FCOS's own keys, the sentences that refuse a value, and the
reference page docs/CONFIG.md (``make docs`` writes it).
"""

from fcos.config.keys.table import add_keys, check_keys

__all__ = ["add_keys", "check_keys"]
