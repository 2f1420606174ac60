"""What "make soak" says of what it has seen."""

import pytest

from tests import soak

pytestmark = pytest.mark.cpu


def test_what_grows_is_found():
    mib = 2**20
    flat = [soak.Sample(200 * mib, 20, 5)] * 40
    assert soak.verdict("loader", 1000, flat)[1] == []
    memory = [soak.Sample((200 + 10 * i) * mib, 20, 5) for i in range(40)]
    assert soak.verdict("loader", 1000, memory)[1] == ["memory grew by 200.0 MiB"]
    files = [soak.Sample(200 * mib, 20 + i, 5 + i // 2) for i in range(40)]
    assert [text.split(":")[0] for text in soak.verdict("loader", 9, files)[1]] == [
        "files",
        "threads",
    ]
