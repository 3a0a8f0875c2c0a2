"""Draw the gallery: ``python -m rlkit.experiments.gallery --out docs``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ..report.ledger import write_bytes, write_text
from .animations import write_small_gif
from .exhibits import STUDY_FIGURES, AnimationExhibit, FigureExhibit, Models, animations, figures

COMMAND = "python -m rlkit.experiments.gallery"
INTRODUCTION = f"""\
# Gallery

Every kind of figure that rlkit draws, and four animations. The trainings behind them are short: the pictures show
what can be drawn, and prove nothing. One command draws this page: `{COMMAND} --out docs`.
The [figures of studies](#figures-of-studies) are explained on the [pages of results](results/index.md).

Text, lines and background of a figure turn dark with the page. Colors are those of Okabe and Ito, which color-blind
readers can distinguish; `rlkit.figure_style` holds them.
"""


def page(drawn: Sequence[FigureExhibit], moving: Sequence[AnimationExhibit]) -> str:
    """The page of the gallery."""
    parts = [INTRODUCTION]
    for each in drawn:
        command = f" `{each.command}` draws one." if each.command else ""
        code = f"Drawn by {{py:func}}`~{each.code}`.{command}"
        parts.append(f"## {each.title}\n\n![{each.title}](gallery/{each.name}.svg)\n\n{code}\n")
    parts.append("## Figures of studies\n")
    for of in STUDY_FIGURES:
        picture = f"![{of.title}](../results/{of.path})"
        parts.append(f"### {of.title}\n\n{picture}\n\nDrawn by `{of.code}`. `{of.command}` draws it.\n")
    parts.append("## Animations\n")
    for shown in moving:
        parts.append(f"### {shown.title}\n\n![{shown.title}](gallery/{shown.name}.gif)\n\nFrames by `{shown.code}`.\n")
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw all figures and animations into the folder ``gallery`` of ``--out``, and write the page beside it."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="Folder of gallery.md and of the folder gallery")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = options.out / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    models = Models()
    drawn, moving = [], []
    for figure in figures(models):
        write_bytes(folder / f"{figure.name}.svg", figure.image)
        drawn.append(figure)
        print(folder / f"{figure.name}.svg", flush=True)
    for animation in animations(models):
        write_small_gif(folder / f"{animation.name}.gif", animation.frames, fps=animation.fps)
        moving.append(animation)
        print(folder / f"{animation.name}.gif", flush=True)
    write_text(options.out / "gallery.md", page(drawn, moving))


if __name__ == "__main__":
    main()
