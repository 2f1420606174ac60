"""Only regular files are read, of bounded size; YAML is bounded in what it stands for."""

import os
import socket

import pytest
import yaml

from fcos.utils.reading import CONFIG, FileKind, open_file, parse_yaml, read_bytes, sha256_of

SMALL = FileKind("a small file", 1000)


def test_a_file_is_read_whole(tmp_path):
    path = tmp_path / "a"
    for content in (b"", b"a", bytes(range(256)) * 3):
        path.write_bytes(content)
        assert read_bytes(str(path), SMALL) == content
        with open_file(str(path), SMALL) as file:
            assert file.read() == content


def test_what_is_no_regular_file(tmp_path):
    """A pipe without a writer, a device without an end."""
    os.mkfifo(tmp_path / "pipe")
    there = socket.socket(socket.AF_UNIX)
    there.bind(str(tmp_path / "socket"))
    others = {
        str(tmp_path): "Is a directory",
        str(tmp_path / "pipe"): "it is a named pipe, not a file",
        "/dev/zero": "it is a device, not a file",
        str(tmp_path / "socket"): "No such device or address",
        str(tmp_path / "nowhere"): "No such file or directory",
        "a\0b": "no file can have this name",
        "\ud800": "no file can have this name",
        "a" * 300: "File name too long",
        "a/" * 3000: "File name too long",
    }
    for path, reason in others.items():
        with pytest.raises(OSError) as error:
            open_file(path, SMALL)
        assert error.value.strerror == reason, path[:50]
    there.close()


def test_a_large_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1001)
    with pytest.raises(OSError) as error:
        read_bytes(str(path), SMALL)
    text = "it has 1,001 bytes, and a small file of more than 1,000 is not read"
    assert error.value.strerror == text


def test_a_file_that_does_not_say_its_size():
    """Those of /proc say that they have 0 bytes."""
    assert read_bytes("/proc/self/status", SMALL._replace(most=10**6)).startswith(b"Name:")
    with pytest.raises(OSError, match="it grows, and a small file of more than 10 is not read"):
        read_bytes("/proc/self/status", SMALL._replace(most=10))


def test_a_hole_is_no_text(tmp_path):
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.truncate(8 * 2**30)
    with pytest.raises(OSError, match="it has NUL bytes, so it is no text in UTF-8"):
        read_bytes(str(path), SMALL._replace(most=2**40), as_text=True)


def bomb(layers):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, layers):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    return "\n".join(lines)


def test_yaml_as_pyyaml_reads_it():
    text = "a: &a {b: [1, 2.5, null], c: 2024-01-31}\nd: *a\ne: {<<: *a, b: x}\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml("") is None
    assert parse_yaml(bomb(4)) == yaml.safe_load(bomb(4))  # 12,000 values


@pytest.mark.parametrize(
    "text, problem",
    [
        (bomb(20), "it has more than 100,000 values, aliases followed"),
        (f"[{'1,' * 100_001}]", "it has more than 100,000 values"),
        ("a: &a [*a]", "an alias leads back to what it is in"),
        ("[" * 60 + "]" * 60, "it has more than 50 layers"),
        ("[" * 200_000, "it has more than 50 layers"),
        ("a: " + "1:" * 20_000 + "1", "a value has more than 20,000 characters"),
        ("a: 2024-13-99", r"a value cannot be read \(month must be in 1..12"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "while parsing a flow"),
    ],
)
def test_yaml_that_is_refused(text, problem):
    with pytest.raises(yaml.YAMLError, match=problem):
        parse_yaml(text)


def test_a_config_is_small():
    assert CONFIG.most == 2**20


def test_the_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # the example of FIPS 180-2
    assert sha256_of(str(tmp_path / "a"), SMALL) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(OSError, match="Is a directory"):
        sha256_of(str(tmp_path), SMALL)
