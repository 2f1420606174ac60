"""``fcos data show``: the labels of a data set, drawn without a model."""

import cv2
import numpy as np
import pytest

from fcos_cli.data import main
from tests.evaluation.dataset.conftest import project, scenes

__all__ = ["project"]


@pytest.fixture
def data(project):
    project.write("train", scenes(5, 20, 60))
    project.write("val", scenes(2, 20, 60), masks=True)
    return project


def show(data, name, *words):
    output = data.root / "pictures"
    arguments = ["show", name, "--config-file", data.config, "--output", output, *words]
    return main([str(word) for word in arguments]), output


def test_boxes_are_drawn_on_evenly_spaced_images(data):
    code, output = show(data, "cells_train", "--num-images", 3)
    assert code == 0
    assert sorted(p.name for p in output.iterdir()) == ["train0.png", "train2.png", "train4.png"]
    drawn = cv2.imread(str(output / "train0.png"))
    assert drawn.shape == (96 * 5, 128 * 5, 3)


def test_masks_are_drawn_where_there_are_any(data):
    assert show(data, "cells_val", "--num-images", 1)[0] == 0
    [path] = (data.root / "pictures").iterdir()
    with_masks = cv2.imread(str(path))
    data.write("val", scenes(2, 20, 60))
    assert show(data, "cells_val", "--num-images", 1)[0] == 0
    assert not np.array_equal(cv2.imread(str(path)), with_masks)


def test_an_unreadable_image_is_left_out_and_said(data, capsys):
    (data.root / "train" / "train0.png").write_bytes(b"no image")
    code, output = show(data, "cells_train", "--num-images", 5)
    assert code == 1 and len(list(output.iterdir())) == 4
    assert "1 of 5 images could not be read and were left out" in capsys.readouterr().err


def test_an_unknown_data_set_is_one_sentence(data, capsys):
    assert show(data, "cells_trian")[0] == 1
    assert "Did you mean 'cells_train'?" in capsys.readouterr().err


def test_without_a_config_the_registered_ones_are_known(capsys, tmp_path):
    assert main(["show", "no_such_data_set", "--output", str(tmp_path)]) == 1
    assert "'no_such_data_set' is not registered" in capsys.readouterr().err
