"""Draws docs/native/picture.svg, which follows a real digit through the generated code.

python docs/native/picture.py    # needs matplotlib
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

DIGIT = 7  # index of the bundled digit to draw
CHANNEL = 1  # channel of conv1 to draw
EVEN, ODD, TILE, GREY = "#a9cbe8", "#f6c99a", "#c62828", "#555555"
IN_TILE = {"edge": TILE, "line": 2}  # how `box` marks what belongs to the tile
LANES = 16


def panel(figure, place, size, title, words):
    """Make axes with y downwards, a title above and an explanation below."""
    axes = figure.add_axes(place)
    axes.set_xlim(0, size[0])
    axes.set_ylim(size[1], 0)
    axes.axis("off")
    axes.set_anchor("NW")
    axes.text(0, -0.6, title, fontsize=12.5, weight="bold", va="bottom")
    axes.text(0, size[1] + 0.4, words, fontsize=9.3, va="top", linespacing=1.35)
    return axes


def box(axes, x, y, colour="white", text="", edge="#888888", size=1.0, line=0.7, font=7.5):
    axes.add_patch(Rectangle((x, y), size, size, fc=colour, ec=edge, lw=line))
    if text != "":
        axes.text(x + size / 2, y + size / 2, str(text), ha="center", va="center", fontsize=font)


def picture(axes, values, side):
    axes.imshow(values, cmap="Greys", extent=(0, side, side, 0), zorder=0, interpolation="nearest")
    frame(axes, 0, 0, side, side, "#bbbbbb", line=0.8)


def frame(axes, x, y, width, height, colour=TILE, style="-", line=2.0):
    axes.add_patch(Rectangle((x, y), width, height, fill=False, ec=colour, lw=line, ls=style))


def arrow(axes, start, end, bend=0.0):
    style = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}", "mutation_scale": 13}
    axes.add_patch(FancyArrowPatch(start, end, color=GREY, lw=1.3, **style))


def row(axes, left, number, width, colour, edge):
    """Draw a thin rectangle, the one of this number in a stack of rows."""
    height = 12.6 / 40  # forty rows, below the caption of the stack
    place = (left, 1.4 + number * height)
    axes.add_patch(Rectangle(place, width, height, lw=0.3, ec=edge, fc=colour))


def the_image(figure, image):
    axes = panel(figure, [0.03, 0.58, 0.20, 0.32], (16, 14),
        "1  An image, four rows at a time",
        "Four rows of pixels make one pooled row of each\nchannel. Two of them serve the "
        "next row again.")  # fmt: skip
    picture(axes, image, 14)
    frame(axes, 0, 14 * 12 / 32, 14, 14 * 4 / 32)
    axes.text(14.3, 14 * 14 / 32, "4", color=TILE, fontsize=11, va="center", weight="bold")


def conv1_lanes(figure):
    axes = panel(figure, [0.28, 0.57, 0.32, 0.32], (18, 9),
        "2  conv1: pooled columns in the lanes",
        "Pixels are parted by column modulo 4, even pooled columns left, odd ones\n"
        "right. Then all is lane by lane: F(2,3) takes d0-d2, d1+d2, d2-d1, d1-d3,\n"
        "multiplies by the transformed filter and adds up three rows; bias, ReLU\n"
        "and the 2x2 maximum follow in registers. Lanes x are not used.")  # fmt: skip
    first = [*range(0, 32, 4), *range(2, 32, 4)]
    for lane in range(LANES):
        colour = EVEN if lane < 8 else ODD
        column = 2 * (lane % 8) + lane // 8
        box(axes, 2 + lane, 1, colour, column if column < 14 else "x", font=9, edge="black")
        for t in range(4):
            pixel = first[lane] + t
            style = (colour, pixel) if pixel < 32 else ("white", "")
            box(axes, 2 + lane, 4 + t, *style)
    axes.text(1.8, 1.5, "column", ha="right", va="center", fontsize=9)
    for t in range(4):
        axes.text(1.8, 4.5 + t, f"d{t}", ha="right", va="center", fontsize=9)
    axes.text(2, 3.7, "pixels of a row", fontsize=9)
    axes.text(2, 0.7, "one register: a pooled row", fontsize=9)


def winograd_tiles(figure, pooled):
    axes = panel(figure, [0.66, 0.58, 0.32, 0.32], (26, 14),
        "3  A Winograd tile is two pooling windows",
        "conv2 is F(4,3) down, F(2,3) along: a tile of 6x4 gives 4x2 outputs,\n"
        "just what two pooling windows take. Tiles step by two: tile j wants\n"
        "columns 2j to 2j+3, lanes j and j+1 of both halves, so that the input\n"
        "transform is lane-wise, too: all tiles of a row at once.")  # fmt: skip
    picture(axes, pooled[:14, :14], 14)
    frame(axes, 4, 4, 4, 6)
    frame(axes, 6, 4, 4, 6, style=":", line=1.6)
    frame(axes, 5, 5, 2, 2, line=1.0)
    frame(axes, 5, 7, 2, 2, line=1.0)
    axes.text(15, 1.4, "tile j = 2 in the lanes", fontsize=9.5, color=TILE)
    for lane in range(LANES):
        half, place = divmod(lane, 8)
        column = 2 * place + half
        text, mark = column if column < 14 else "x", IN_TILE if place in (2, 3) else {}
        left, top, colour = 15 + 1.3 * place, 2.2 + 1.6 * half, ODD if half else EVEN
        box(axes, left, top, colour, text, size=1.2, font=8.5, **mark)
    arrow(axes, (16.8, 5.2), (8.2, 6.4), -0.15)


def conv2_lanes(figure):
    axes = panel(figure, [0.03, 0.13, 0.30, 0.30], (24, 14),
        "4  conv2: output channels in the lanes",
        "Each of the 24 positions of a tile: its value, copied to all lanes,\n"
        "times the filters of 16 output channels, summed over conv1's six\n"
        "channels. The bias starts one of the sums. The way back leaves eight\n"
        "registers; the maxima of fours are 16 features each of two pixels.")  # fmt: skip
    for i, j in np.ndindex(6, 4):
        mark = {"colour": "#f2b8b5", **IN_TILE} if (i, j) == (1, 2) else {}
        box(axes, j * 1.3, 1.5 + i * 1.3, size=1.2, **mark)
    axes.text(0, 1.1, "tile, transformed", fontsize=9)
    axes.text(6.5, 4.1, "×", fontsize=15, ha="center", va="center")  # noqa: RUF001
    for lane in range(LANES):
        box(axes, 7.6 + lane, 3.6, "#d9d2e9", lane)
        box(axes, 7.6 + lane, 7.2, "#cfe8cf")
        box(axes, 7.6 + lane, 11.6, "#8fca8f")
    axes.text(7.6, 3.2, "filters of 16 output channels, this position", fontsize=9)
    axes.text(7.6, 6.8, "sum of this position, one of 18 registers", fontsize=9)
    axes.text(7.6, 11.2, "features (y, x, 0 to 15)", fontsize=9)
    arrow(axes, (15.6, 4.7), (15.6, 6.2))
    arrow(axes, (15.6, 8.3), (15.6, 10.5))
    axes.text(16.0, 9.3, "transform back, ReLU, maximum", fontsize=9, va="center", color=GREY)


def features(figure, mask):
    axes = panel(figure, [0.40, 0.13, 0.20, 0.30], (20, 14), "5  Features and their bit mask",
        f"(6, 6, 16): a register for each pixel. Here\n{mask.mean():.0%} of this digit's "
        "576 features are not zero.\nEach pixel brings a mask of 16 bits.")  # fmt: skip
    style = {"cmap": "Greys", "vmin": 0, "vmax": 1.2, "aspect": "auto", "interpolation": "nearest"}
    for half in range(2):
        left = half * 10.2
        block = mask[18 * half : 18 * half + 18]
        axes.imshow(block, extent=(left, left + 9, 14, 0), **style)
        for i in range(19):
            axes.plot([left, left + 9], [i * 14 / 18] * 2, color="#bbbbbb", lw=0.5)
        for i in range(17):
            axes.plot([left + i * 9 / 16] * 2, [0, 14], color="#bbbbbb", lw=0.5)


def dense(figure, mask):
    axes = panel(figure, [0.66, 0.13, 0.32, 0.30], (26, 14), "6  Dense layers skip zeros",
        "Only rows of weights whose input is not zero are read and added: the\n"
        "dark ones. Images of a chunk take turns at 64 rows (32 KiB), which stay\n"
        "in the L1 cache; one or two images run right through, and their sums\n"
        "stay in registers. Outputs make the next masks, down to ten logits.")  # fmt: skip
    bits = mask.ravel()[:40]
    axes.text(0, 1.0, "masks of images", fontsize=9)
    for image, its_bits in enumerate([bits, np.roll(bits, 7), np.roll(bits[::-1], 3)]):
        for i, bit in enumerate(its_bits):
            row(axes, image * 1.5, i, 1.0, "#333333" if bit else "white", "#bbbbbb")
    axes.text(4.6, 7, "...", fontsize=12)
    for i, bit in enumerate(bits):
        row(axes, 9, i, 11, "#7e57c2" if bit else "#f7f5fb", "#cccccc")
    axes.text(9, 1.0, "weights: a row of 120 outputs for each input", fontsize=9)
    arrow(axes, (6.2, 7.2), (8.8, 7.2))
    axes.text(7.4, 6.6, "turns", fontsize=9, ha="center", color=GREY)
    arrow(axes, (20.2, 7.2), (22.4, 7.2))
    for i in range(8):
        box(axes, 22.6, 3.2 + i, "#d9d2e9")
    axes.text(23.8, 7.2, "8 sums\nof 16", fontsize=9, va="center")


def main():
    digit = to_batch(load_digits().images[DIGIT : DIGIT + 1], Preprocessing())
    net = load_checkpoint().eval()
    with torch.inference_mode():
        pooled = F.max_pool2d(F.relu(net.conv1(torch.from_numpy(digit))), 2)
        last = F.max_pool2d(F.relu(net.conv2(pooled)), 2)
    mask = (last[0].permute(1, 2, 0).reshape(36, LANES) != 0).numpy()
    mpl.rcParams.update({"font.family": "DejaVu Sans", "svg.hashsalt": "lenet"})
    figure = plt.figure(figsize=(16, 10), facecolor="white")
    the_image(figure, digit[0, 0])
    conv1_lanes(figure)
    winograd_tiles(figure, pooled[0, CHANNEL].numpy())
    conv2_lanes(figure)
    features(figure, mask)
    dense(figure, mask)
    target = Path(__file__).with_name("picture.svg")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
