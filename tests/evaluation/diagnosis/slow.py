"""The same figures in plain loops, and random scenes to compare them on."""

from __future__ import annotations

import json

import numpy as np
from pycocotools import mask as mask_api

SIZE = 100
IDS = (2, 3, 9)  # neither from 1 on nor without gaps


def ellipse(box):
    """The mask of an ellipse in a box, as run lengths."""
    x, y, w, h = box
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = ((columns + 0.5 - x - w / 2) / w) ** 2 + ((rows + 0.5 - y - h / 2) / h) ** 2 <= 0.25
    found = mask_api.encode(np.asfortranarray(inside, dtype=np.uint8))
    return {"size": [SIZE, SIZE], "counts": found["counts"].decode()}


def scene(seed, num_images=8, with_masks=False, crowds=0, num_classes=3):
    """An annotation file and results: right, shaken, confused, doubled and invented detections."""
    rng = np.random.default_rng(seed)
    images, annotations, results = [], [], []
    ids = IDS[:num_classes]
    for image_id in range(7, 7 + num_images):
        images.append({"id": image_id, "file_name": f"{image_id}.png", "width": SIZE})
        images[-1]["height"] = SIZE
        for number in range(int(rng.integers(0, 6))):
            box = [*rng.uniform(0, 70, 2).round(1), *rng.uniform(8, 30, 2).round(1)]
            box = [float(v) for v in box]
            category = int(rng.choice(ids))
            thing = {"image_id": image_id, "category_id": category, "bbox": box}
            is_crowd = number < crowds
            thing |= {"id": 100 + len(annotations), "area": box[2] * box[3], "iscrowd": is_crowd}
            annotations.append(thing | ({"segmentation": ellipse(box)} if with_masks else {}))
            for _ in range(int(rng.integers(0, 4))):
                noise = rng.choice([0.03, 0.15, 0.5])
                new = np.array(box) + rng.normal(0, noise, 4) * [box[2], box[3], box[2], box[3]]
                new[2:] = np.maximum(new[2:], 3)
                other = category if rng.random() < 0.7 else int(rng.choice(ids))
                results.append((image_id, other, new))
        for _ in range(int(rng.integers(0, 3))):
            new = np.array([*rng.uniform(0, 70, 2), *rng.uniform(8, 30, 2)])
            results.append((image_id, int(rng.choice(ids)), new))
    scores = rng.permutation(np.linspace(0.02, 0.98, len(results)))  # no two are equal
    results = [
        {"image_id": i, "category_id": c, "bbox": [float(v) for v in box], "score": float(score)}
        | ({"segmentation": ellipse(box)} if with_masks else {})
        for (i, c, box), score in zip(results, scores, strict=True)
    ]
    categories = [{"id": i, "name": f"class {i}"} for i in ids]
    contents = {"images": images, "annotations": annotations, "categories": categories}
    return contents, results


def write_scene(root, contents):
    """Its annotation file; the images are not there."""
    path = root / "scene.json"
    path.write_text(json.dumps(contents))
    return str(path)


def overlap(one, other, is_mask, is_crowd=False):
    """IoU of two things; of a crowd, the share of the first that lies in it."""
    if is_mask:
        a, b = (mask_api.decode(thing["segmentation"]).astype(bool) for thing in (one, other))
        return (a & b).sum() / max(1, a.sum() if is_crowd else (a | b).sum())
    (x, y, w, h), (u, v, s, t) = one["bbox"], other["bbox"]
    both = max(0, min(x + w, u + s) - max(x, u)) * max(0, min(y + h, v + t) - max(y, v))
    return both / (w * h if is_crowd else w * h + s * t - both)


class Match:
    """COCO's matching at one IoU: the highest score first, each with the best object left."""

    def __init__(self, contents, results, iou=0.5, is_mask=False):
        self.objects = [a for a in contents["annotations"] if not a["iscrowd"]]
        crowds = [a for a in contents["annotations"] if a["iscrowd"]]
        self.results, self.is_mask = results, is_mask
        self.order = sorted(range(len(results)), key=lambda d: -results[d]["score"])
        self.object_of, self.ignored = {}, set()  # detection -> object
        for d in self.order:
            best, taken = iou, set(self.object_of.values())
            for g, thing in enumerate(self.objects):
                value = self.iou(d, g)
                if self.same(d, thing) and g not in taken and value >= best:
                    best, self.object_of[d] = value, g
            if d not in self.object_of:
                for crowd in crowds:
                    value = overlap(results[d], crowd, is_mask, is_crowd=True)
                    if self.same(d, crowd) and value >= iou:
                        self.ignored.add(d)

    def same(self, d, thing):
        result = self.results[d]
        keys = ("image_id", "category_id")
        return all(result[key] == thing[key] for key in keys)

    def iou(self, d, g):
        if self.results[d]["image_id"] != self.objects[g]["image_id"]:
            return 0.0
        return overlap(self.results[d], self.objects[g], self.is_mask)


def average_precision(rows, number):
    """AP of (score, is it right) and a number of objects, at 101 recalls."""
    points, right = [], 0
    for kept, (_, is_right) in enumerate(sorted(rows, key=lambda row: -row[0]), 1):
        right += is_right
        points.append((right / number, right / kept))
    # As COCO: not i / 100, to which a recall such as 0.57 may be equal where it is not here.
    recalls = np.linspace(0, 1, 101).tolist()
    return sum(max([p for r, p in points if r >= recall], default=0) for recall in recalls) / 101


def mean_ap(rows, objects):
    """Mean AP of the classes that have objects, from (class, score, is it right)."""
    classes = [c for c in sorted(set(objects)) if objects.count(c)]
    of = {c: [(s, right) for k, s, right in rows if k == c] for c in classes}
    return sum(average_precision(of[c], objects.count(c)) for c in classes) / len(classes)


def tide(contents, results, is_mask=False):
    """Count errors and what they cost: kind -> (number, gain of AP50 in [0, 1])."""
    match = Match(contents, results, is_mask=is_mask)
    found, kinds, target = set(match.object_of.values()), {}, {}
    for d in match.order:
        if d in match.object_of or d in match.ignored:
            continue
        near = [g for g, o in enumerate(match.objects) if o["image_id"] == results[d]["image_id"]]
        own = [(match.iou(d, g), -g) for g in near if match.same(d, match.objects[g])]
        other = [(match.iou(d, g), -g) for g in near if not match.same(d, match.objects[g])]
        best_own, best_other = max(own, default=(0, 0)), max(other, default=(0, 0))
        if own and 0.1 <= best_own[0] <= 0.5:
            kinds[d], target[d] = "localisation", -best_own[1]
        elif other and best_other[0] >= 0.5:
            kinds[d], target[d] = "classification", -best_other[1]
        elif any(value >= 0.5 and -g in found for value, g in own):
            kinds[d] = "duplicate"
        elif max(best_own[0], best_other[0]) <= 0.1:
            kinds[d] = "background"
        else:
            kinds[d] = "both"
    missed = set(range(len(match.objects))) - found - set(target.values())
    best = {}  # object -> the detection that would find it
    for d in match.order:
        if d in target and target[d] not in found:
            best.setdefault(target[d], d)

    def rows(mended):
        for d, result in enumerate(results):
            if d in match.ignored:
                continue
            if kinds.get(d) != mended or mended is None:
                yield result["category_id"], result["score"], d in match.object_of
            elif d in target and best.get(target[d]) == d:
                yield match.objects[target[d]]["category_id"], result["score"], True

    objects = [thing["category_id"] for thing in match.objects]
    left = [c for g, c in enumerate(objects) if g not in missed]
    base = mean_ap(list(rows(None)), objects)
    numbers = list(kinds.values())
    answer = {
        kind: (numbers.count(kind), max(0, mean_ap(list(rows(kind)), objects) - base))
        for kind in ("localisation", "classification", "duplicate", "background", "both")
    }
    # A class whose objects are all missed has none left, and counts as not mended.
    kept = sum(
        average_precision([(s, right) for k, s, right in rows(None) if k == c], left.count(c))
        for c in sorted(set(left))
    ) / len(set(objects))
    answer["missed"] = (len(missed), max(0, kept - base))
    return base, answer


def confusion(contents, results, score, is_mask=False):
    """Pairs of classes: the highest score first, each with the best object of any class left."""
    match = Match(contents, results, is_mask=is_mask)
    ids = sorted(category["id"] for category in contents["categories"])
    matrix = np.zeros((len(ids) + 1, len(ids) + 1), dtype=int)
    taken = set()
    for d in match.order:
        if results[d]["score"] < score or d in match.ignored:
            continue
        best, column = (0.5, -1), ids.index(results[d]["category_id"])
        for g in range(len(match.objects)):
            if g not in taken and match.iou(d, g) >= best[0]:
                best = match.iou(d, g), g
        if best[1] < 0:
            matrix[-1, column] += 1
        else:
            taken.add(best[1])
            matrix[ids.index(match.objects[best[1]]["category_id"]), column] += 1
    for g, thing in enumerate(match.objects):
        matrix[ids.index(thing["category_id"]), -1] += g not in taken
    return matrix
