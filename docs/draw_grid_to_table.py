"""Draw docs/grid_to_table.svg and .png: a grid of the quickstart, and the table that it became.

    python docs/draw_grid_to_table.py

Reads config/quickstart.yaml and results/tables/part_a.tsv: call `make run` first.
"""

import csv
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PROJECT = Path(__file__).resolve().parents[1]
STUDY = "part_a"
# In inches.
LINE, MARGIN, WIDTH = 0.235, 0.25, 13.4
YAML_WIDTH, ARROW_WIDTH = 5.45, 1.6
INK, QUIET, FILL, ACCENT = "#222222", "#6a6a6a", "#f6f6f4", "#0072b2"
WIDTHS = {"batch_size": 1.0, "optimizer": 0.92, "lr": 0.72, "epochs": 0.72, "pin_memory": 1.05}
MODEL_WIDTH = 0.8
TITLE = "the table that you get (test accuracy, %)"


def grid_of(study: str) -> list[str]:
    """The lines of a study's grid and seeds, as they are written in the config."""
    lines = (PROJECT / "config/quickstart.yaml").read_text(encoding="utf-8").split("\n")
    start = lines.index(f"  {study}:")
    first = next(i for i in range(start, len(lines)) if lines[i] == "    grid:")
    last = next(i for i in range(first, len(lines)) if lines[i].startswith("    seeds:"))
    return [lines[start][2:], *(line[2:] for line in lines[first : last + 1])]


def table_of(study: str) -> list[list[str]]:
    """The rows of a study's table, the header first."""
    with (PROJECT / f"results/tables/{study}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def draw(yaml: list[str], table: list[list[str]]) -> plt.Figure:
    """Both side by side, with an arrow from the grid to the table."""
    depth = LINE * len(yaml) + 0.3
    height = depth + 2 * MARGIN + 0.35
    figure = plt.figure(figsize=(WIDTH, height), facecolor="white")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(height, 0))
    axis.axis("off")
    top = MARGIN + 0.45

    axis.text(MARGIN, MARGIN, "the grid that you write", fontsize=11, color=QUIET, va="center")
    box = FancyBboxPatch((MARGIN, top - 0.1), YAML_WIDTH, depth, boxstyle="round,pad=0,rounding_size=0.06",
                         facecolor=FILL, edgecolor="#cccccc", linewidth=0.8)  # fmt: skip
    axis.add_patch(box)
    for i, line in enumerate(yaml):
        key, colon, _ = line.partition(":")
        y = top + 0.17 + LINE * i
        text = axis.text(MARGIN + 0.15, y, line, family="monospace", fontsize=9, color=INK, va="center")
        if colon and "{" not in key:
            text.set_color(INK)
            axis.text(MARGIN + 0.15, y, key, family="monospace", fontsize=9, color=ACCENT, va="center")

    left = MARGIN + YAML_WIDTH
    right = left + ARROW_WIDTH
    middle = top - 0.1 + depth / 2
    arrow = FancyArrowPatch((left + 0.2, middle), (right - 0.2, middle), arrowstyle="-|>", mutation_scale=18,
                            color=ACCENT, linewidth=2)  # fmt: skip
    axis.add_patch(arrow)
    runs = sum(cell != "" for row in table[1:] for cell in row[len(WIDTHS) :])
    axis.text((left + right) / 2, middle - 0.27, f"{runs} runs", fontsize=11, color=INK, ha="center")
    for i, words in enumerate(("one job,", "one record each")):
        axis.text((left + right) / 2, middle + 0.3 + 0.22 * i, words, fontsize=9, color=QUIET, ha="center")

    axis.text(right, MARGIN, TITLE, fontsize=11, color=QUIET, va="center")
    places, x = [], right
    for name in table[0]:
        places.append(x)
        x += WIDTHS.get(name, MODEL_WIDTH)
    step = depth / (len(table) + 0.4)
    rules = [top - 0.1, top - 0.1 + 1.1 * step, top - 0.1 + depth]
    for y, width in zip(rules, (1.6, 0.8, 1.6), strict=True):
        axis.plot([right - 0.05, x], [y, y], color=INK, linewidth=width)
    for i, row in enumerate(table):
        y = top - 0.1 + step * (i + 0.55 + 0.12 * (i > 0))
        for j, (place, cell) in enumerate(zip(places, row, strict=True)):
            measured = j >= len(WIDTHS)
            at = place + MODEL_WIDTH - 0.05 if measured else place
            axis.text(at, y, cell, fontsize=10, color=INK, ha="right" if measured else "left", va="center",
                      weight="bold" if i == 0 else "normal")  # fmt: skip
    return figure


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "grid_to_table"
    drawn = draw(grid_of(STUDY), table_of(STUDY))
    drawn.savefig(PROJECT / "docs/grid_to_table.svg", metadata={"Date": None})
    drawn.savefig(PROJECT / "docs/grid_to_table.png", dpi=110, metadata={"Software": None})
