"""Pictures of what a few test samples become on chip 0, level by level: results/pictures/<key>.png."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import limits
from bench.files import write_bytes
from bench.labels import point_label

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from bench.rig import Rig
    from bench.spec import Evaluation
    from devices._base import Device
    from tasks._base import Split

SAMPLES = 2  # rows of a picture, the first of the test split: the page has 8 MB for all pictures and charts
MOST_BYTES = 95_000  # noise can't be compressed: shades are given up until the file is this small
SHADES = (256, 128, 64, 32, 16, 8)
GAP, TEXT = 4, 12  # pixels


def folder(results: Path) -> Path:
    """Where pictures lie, beside the records."""
    return results / "pictures"


def path(results: Path, key: str) -> Path:
    """The picture of a record, if it has one."""
    return folder(results) / f"{key}.png"


def check(data: bytes) -> None:
    """ValueError, in one line, unless this is one PNG, no larger than the bench's, all of which Pillow can draw."""
    from PIL import Image

    if len(data) > limits.PICTURE:
        raise ValueError(f"it is larger than {limits.shown(limits.PICTURE)}")
    try:
        with warnings.catch_warnings(action="error"), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            size, frames = image.width * image.height, getattr(image, "n_frames", 1)
            if size <= limits.PIXELS:
                image.load()
    except Exception:  # PIL raises half a dozen kinds
        raise ValueError("it is no PNG that can be drawn") from None
    if size > limits.PIXELS or frames != 1:
        raise ValueError(f"it has {size:,} pixels, {frames} frames; must be at most {limits.PIXELS:,}, and 1")


def keep(results: Path, evaluation: "Evaluation", rig: "Rig", device: "Device", test: "Split") -> None:
    """Write the picture of an evaluation, if its task has any. `rig`: on `test`. OSError if it can't."""
    from bench.samples import outputs

    few, task = test.head(min(SAMPLES, len(test))).to(rig.processor), rig.task
    if (before := task.picture(few.inputs, few.targets)) is None:
        return
    edge, nothing = before.shape[3] // 2, [""] * len(few)
    columns = [("given", before[..., :edge], nothing), ("wanted", before[..., edge:], nothing)]

    def add(name: str, output: "Tensor") -> None:
        shown, parts = task.picture(few.inputs, few.targets, output), task.correct(output, few.targets)
        assert shown is not None
        columns.append((name, shown, [f"{part:.1f} {task.metric.unit}" for part in parts.tolist()]))

    names = ["digital"]
    for level, time_s in evaluation.points:
        names.append(point_label("time_s", time_s) if evaluation.times_s and time_s is not None else f"level {level:g}")
    for name, output in zip(names, outputs(evaluation, rig, device, len(few)), strict=True):
        add(name, output)
    write_bytes(path(results, evaluation.key), png(table(columns, task.picture_note)))


def table(columns: Sequence[tuple[str, "Tensor", Sequence[str]]], note: str = "") -> "Image.Image":
    """Columns of a heading, uint8 (n, 3, h, w) and a line under each picture, side by side; a line below all."""
    from PIL import Image, ImageDraw, ImageFont

    height = max(pictures.shape[2] for _, pictures, _ in columns)
    rows = len(columns[0][1])
    row = height + TEXT + 2 * GAP
    size = sum(p.shape[3] + GAP for _, p, _ in columns), TEXT + 2 * GAP + rows * row + bool(note) * (TEXT + GAP)
    whole, font, left = Image.new("RGB", size, "white"), ImageFont.load_default(TEXT), 0
    draw = ImageDraw.Draw(whole)
    for name, pictures, lines in columns:
        draw.text((left, GAP), name, "black", font)
        for i, (picture, line) in enumerate(zip(pictures.permute(0, 2, 3, 1).contiguous().cpu(), lines, strict=True)):
            top = TEXT + 2 * GAP + i * row
            whole.paste(Image.fromarray(picture.numpy()), (left, top))
            draw.text((left, top + height + 1), line, "black", font)
        left += pictures.shape[3] + GAP
    draw.text((0, whole.height - TEXT - GAP), note, "black", font)
    return whole


def png(image: "Image.Image") -> bytes:
    """The image as PNG, in fewer shades where it would be larger than MOST_BYTES."""
    from PIL import Image

    made = b""
    for shades in SHADES:
        file = io.BytesIO()
        image.quantize(shades, dither=Image.Dither.NONE).save(file, "png", optimize=True)
        made = file.getvalue()
        if len(made) <= MOST_BYTES:
            break
    return made
