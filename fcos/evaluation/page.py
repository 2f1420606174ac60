"""A comparison as one HTML file that needs no other file, server, script or font."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape

from fcos.evaluation.choice import Choice
from fcos.evaluation.comparison import Comparison, Task, listed
from fcos.evaluation.figures import METRICS
from fcos.evaluation.pictures import COLORS, WRONG, draw_curves

__all__ = ["render_page", "signed"]

_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
_TITLES = {
    "AP": "mean over IoU 0.50, 0.55, ..., 0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "APs": "objects below 32² square pixels",
    "APm": "objects from 32² to 96² square pixels",
    "APl": "objects from 96² square pixels",
    "AR1": "1 detection per image and class",
    "AR10": "10 detections per image and class",
    "AR": "all detections that count",
    "ARs": "objects below 32² square pixels",
    "ARm": "objects from 32² to 96² square pixels",
    "ARl": "objects from 96² square pixels",
}

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 84rem; background: #fff;
  color: #1c1c1c;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid #ccc; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; }
p { max-width: 52rem; margin: .5rem 0; }
.data { color: #555; }
.verdict { font-size: 1.15rem; margin: 1rem 0 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap; font-weight: normal; }
th:first-child, .text th, .text td { text-align: left; }
.text th, .text td { white-space: normal; }
.text th[scope=row] { white-space: nowrap; }
.text code { overflow-wrap: anywhere; }
thead th { border-bottom: 1.5px solid #333; font-weight: 600; vertical-align: bottom; }
tbody tr { border-bottom: 1px solid #e6e6e6; }
tbody + tbody { border-top: 2px solid #999; }
tbody:last-child { border-bottom: 1.5px solid #333; }
.up { color: #00664b; font-weight: 600; }
.down { color: #a63c00; font-weight: 600; }
.bar { position: relative; display: block; width: 9rem; height: .8rem; }
.bar i { position: absolute; top: .05rem; bottom: .05rem; }
.bar i, .dot { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar::after { content: ""; position: absolute; left: 50%; top: -.3rem; bottom: -.3rem;
  border-left: 1px solid #999; }
.bar i.up { left: 50%; background: #009e73; }
.bar i.down { right: 50%; background: #d55e00; }
.dot { display: inline-block; width: .75em; height: .75em; margin-right: .45em;
  border-radius: 50%; }
img { display: block; max-width: 100%; height: auto; }
img.curves { width: 100%; max-width: 72rem; }
.image { margin: 1.4rem 0 2rem; break-inside: avoid; }
.image h3 { margin: 0 0 .4rem; overflow-wrap: anywhere; }
.image small { font-weight: normal; color: #555; font-size: .9rem; }
.row { display: grid; gap: .6rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .88rem; line-height: 1.35; padding: .3rem 0 0; overflow-wrap: anywhere; }
label { cursor: zoom-in; }
label input { position: absolute; opacity: 0; pointer-events: none; }
label input:focus-visible + img { outline: 3px solid #0072b2; }
.row img { width: 100%; }
label input:checked + img { position: fixed; inset: 0; z-index: 1; width: 100%; height: 100%;
  object-fit: contain; background: #fff; padding: 1rem; cursor: zoom-out; }
.note { background: #f5f5f0; border-left: 4px solid #999; padding: .6rem 1rem; margin: 1rem 0; }
.method { font-size: .92rem; color: #333; }
details summary { cursor: pointer; margin-bottom: .6rem; }
code { font: .9em ui-monospace, "Liberation Mono", Menlo, Consolas, monospace; }
@media print {
  @page { margin: 14mm; }
  body { padding: 0; max-width: none; font-size: 9.5pt; }
  .wide { overflow: visible; }
  th, td { padding: .2rem .45rem; }
  .figures { font-size: 7.5pt; }
  .figures th:first-child { white-space: normal; }
  .figures th, .figures td { padding: .2rem .22rem; }
  h2, h3 { break-after: avoid; }
  tr, figure { break-inside: avoid; }
  thead { display: table-header-group; }
}
@media screen and (max-width: 45rem) { .row { grid-template-columns: 1fr !important; } }
"""


def render_page(comparison: Comparison) -> str:
    """The page as HTML text; every name in it is escaped."""
    names = listed(comparison.labels)
    title = f"{names} on {comparison.truth.name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="data">{_data(comparison)}</p>',
        *(f'<p class="verdict">{_verdict(task)}</p>' for task in comparison.tasks),
        _note(comparison.note_on_masks),
        _runs(comparison),
        *(_task(task, comparison) for task in comparison.tasks),
        _images(comparison),
        _settings(comparison),
        _method(comparison),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )


def signed(value: float) -> str:
    """A difference with one digit and its sign: +1.2, \N{MINUS SIGN}0.4, 0.0, or an en dash."""
    if not math.isfinite(value):
        return _DASH
    text = f"{abs(value):.1f}"
    if text == "0.0":
        return text
    return ("+" if value > 0 else _MINUS) + text


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else _DASH


def _change(value: float) -> str:
    """A difference, coloured by its direction."""
    text = signed(value)
    kind = {"+": "up", _MINUS: "down"}.get(text[0])
    return f'<span class="{kind}">{text}</span>' if kind else text


def _row(cells: Iterable[str], tag: str = "td") -> str:
    first, *rest = cells
    scope = "row" if tag == "td" else "col"
    others = "".join(f"<{tag}>{cell}</{tag}>" for cell in rest)
    return f'<tr><th scope="{scope}">{first}</th>{others}</tr>'


def _table(head: Sequence[str], *bodies: Sequence[Sequence[str]], kind: str = "") -> str:
    rows = "".join(f"<tbody>{''.join(map(_row, body))}</tbody>" for body in bodies if body)
    head_row = _row(head, "th")
    return f'<div class="wide {kind}"><table><thead>{head_row}</thead>{rows}</table></div>'


def _data(comparison: Comparison) -> str:
    coco = comparison.truth.coco
    return (
        f"{len(coco.imgs):,} images, {len(coco.anns):,} objects, {len(coco.cats)} classes. "
        f"<code>{escape(comparison.truth.json_file)}</code>"
    )


def _verdict(task: Task) -> str:
    baseline = task.overall[0]["AP"]
    texts = [f"{escape(task.labels[0])} {_number(baseline)}"]
    for label, figures in zip(task.labels[1:], task.overall[1:], strict=True):
        change = _change(figures["AP"] - baseline)
        texts.append(f"{escape(label)} {_number(figures['AP'])} ({change})")
    return f"<b>{task.name.capitalize()} AP</b>: {', '.join(texts)}"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>' if text else ""


def _dot(index: int) -> str:
    return f'<span class="dot" style="background:{COLORS[index % len(COLORS)]}"></span>'


def _runs(comparison: Comparison) -> str:
    rows = []
    for index, scored in enumerate(comparison.runs):
        run = scored.run
        file = f"<code>{escape(run.results_file)}</code>"
        number, threshold = f"{len(run.results):,}", f"{scored.score:.3f}"
        masks = "yes" if run.has_masks else "no"
        rows.append([_dot(index) + escape(run.label), number, masks, threshold, file])
    head = ["detector", "detections", "masks", "shown from score", "results"]
    return "<h2>What is compared</h2>" + _table(head, rows, kind="text")


def _task(task: Task, comparison: Comparison) -> str:
    name = task.name.capitalize()
    colors = [COLORS[comparison.labels.index(label) % len(COLORS)] for label in task.labels]
    curves = draw_curves(dict(zip(task.labels, task.curves, strict=True)), colors)
    alt = f"Precision over recall of {listed(task.labels)} for {task.name} detection"
    return "".join(
        [
            f"<h2>{name} AP and AR</h2>",
            _overall(task),
            "<h3>Precision over recall, mean over the classes</h3>"
            + _embedded("svg+xml", curves, alt, "curves"),
            f"<h3>{name} AP of each class</h3>{_classes(task, comparison)}",
        ]
    )


def _overall(task: Task) -> str:
    """Runs, then their differences to the first, in the form in which papers have it."""
    head = ["", *(f'<span title="{_TITLES[name]}">{name}</span>' for name in METRICS)]
    first = task.overall[0]
    runs = [
        [escape(label), *(_number(figures[name]) for name in METRICS)]
        for label, figures in zip(task.labels, task.overall, strict=True)
    ]
    changes = [
        [
            f"{escape(label)} {_MINUS} {escape(task.labels[0])}",
            *(_change(figures[name] - first[name]) for name in METRICS),
        ]
        for label, figures in zip(task.labels[1:], task.overall[1:], strict=True)
    ]
    return _table(head, runs, changes, kind="figures")


def _classes(task: Task, comparison: Comparison) -> str:
    head = ["class", "objects"]
    for index, label in enumerate(task.labels):
        head.append(escape(label))
        if index:
            head += ["difference", ""]
    truth = comparison.truth
    changes = [
        of_class["AP"] - task.classes[0][i]["AP"]
        for of_run in task.classes[1:]
        for i, of_class in enumerate(of_run)
    ]
    largest = max((abs(c) for c in changes if math.isfinite(c)), default=0.0)
    rows = []
    for i, category_id in enumerate(truth.category_ids):
        objects = len(truth.coco.getAnnIds(catIds=[category_id], iscrowd=False))
        row = [escape(truth.class_names[i]), f"{objects:,}"]
        for index, of_run in enumerate(task.classes):
            row.append(_number(of_run[i]["AP"]))
            if index:
                change = of_run[i]["AP"] - task.classes[0][i]["AP"]
                row += [_change(change), _bar(change, largest)]
        rows.append(row)
    return _table(head, rows)


def _bar(change: float, largest: float) -> str:
    if not math.isfinite(change) or not largest:
        return '<span class="bar"></span>'
    kind, width = ("up" if change > 0 else "down"), 50 * abs(change) / largest
    return f'<span class="bar"><i class="{kind}" style="width:{width:.1f}%"></i></span>'


def _embedded(kind: str, data: bytes, alt: str, class_: str = "") -> str:
    text = base64.b64encode(data).decode("ascii")
    return f'<img class="{class_}" alt="{escape(alt)}" src="data:image/{kind};base64,{text}">'


def _images(comparison: Comparison) -> str:
    wins, ties = comparison.better
    counted = ", ".join(
        f"{escape(label)} on {number:,}"
        for label, number in zip(comparison.labels, wins, strict=True)
    )
    introduction = (
        f"<h2>Where they differ most</h2><p>F1 is higher for {counted} images; on {ties:,} no "
        "detector is ahead. "
    )
    if not comparison.choices:
        return introduction + "No image is shown.</p>"
    shown = "".join(_image(comparison, i) for i in range(len(comparison.choices)))
    return (
        f"{introduction}The {len(comparison.choices)} images with the largest difference are "
        f"below. {WRONG} marks a detection without an object. A click enlarges a picture.</p>"
        + shown
    )


def _image(comparison: Comparison, index: int) -> str:
    choice, pictures = comparison.choices[index], comparison.pictures[index]
    name = comparison.truth.coco.imgs[choice.image_id]["file_name"]
    captions = ["<b>ground truth</b>", *_captions(choice, comparison.labels)]
    alts = ["ground truth", *(f"detections of {label}" for label in comparison.labels)]
    figures = "".join(
        f'<figure><label><input type="checkbox">{_embedded("jpeg", picture, f"{name}, {alt}")}'
        f"</label><figcaption>{caption}</figcaption></figure>"
        for picture, caption, alt in zip(pictures, captions, alts, strict=True)
    )
    return (
        f'<section class="image"><h3>{escape(name)} <small>image {escape(str(choice.image_id))}, '
        f"difference in F1 {choice.difference:.2f}</small></h3>"
        f'<div class="row" style="grid-template-columns:repeat({len(pictures)},1fr)">{figures}'
        "</div></section>"
    )


def _captions(choice: Choice, labels: Sequence[str]) -> list[str]:
    return [
        f"{_dot(i)}<b>{escape(label)}</b>: F1 {counts.f1:.2f} "
        f"({counts.found} found, {counts.wrong} wrong, {counts.missed} missed)"
        for i, (label, counts) in enumerate(zip(labels, choice.counts, strict=True))
    ]


def _settings(comparison: Comparison) -> str:
    if not comparison.settings:
        return ""
    number = len(comparison.settings)
    rows = [
        [f"<code>{escape(key)}</code>", *(f"<code>{escape(text)}</code>" for text in texts)]
        for key, texts in comparison.settings.items()
    ]
    table = _table(["key", *map(escape, comparison.labels)], rows, kind="text")
    is_open = " open" if number <= 30 else ""
    what = "1 setting differs" if number == 1 else f"{number} settings differ"
    return (
        f"<h2>Settings</h2><details{is_open}><summary>{what} between their config.yaml</summary>"
        f"{table}</details>"
    )


def _method(comparison: Comparison) -> str:
    threshold = (
        "The score from which detections are counted and shown was given, the same for all."
        if comparison.is_score_given
        else "The score from which detections are counted and shown is, for each detector, the one "
        "with its best F1 over the whole data set, since scores of two detectors mean different "
        "things."
    )
    return f"""<h2>How this was computed</h2><div class="method">
<p>AP and AR are those of COCO, in percent, the numbers of pycocotools with the settings of
detectron2's COCOEvaluator: the best {comparison.max_dets} detections of an image and class count.
AP and AR are means over IoU 0.50, 0.55, ..., 0.95; s, m and l take objects below 32² square pixels,
between, and from 96² on; AR1 and AR10 allow 1 and 10 detections per image and class. {_DASH} stands
where there is no object to measure on. The number beside each curve is the area under it, in
percent: AP50, AP75 and AP. Differences are taken before rounding.</p>
<p>F1 of an image: its detections are matched to its objects at box IoU 0.50, within a class, the
highest score first; F1 = 2 found / (2 found + wrong + missed), and 1 where there is neither object
nor detection. Regions marked as crowds do not count. {threshold} Images are in the order of the
highest minus the lowest F1, then of the difference in the number of mistakes.</p>
<p>Each result is that of one training: the same config with another seed has another AP. The
numbers of this page, unrounded, are in <code>comparison.json</code>.</p></div>"""
