"""``rlkit watch``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from .options import DONE, Json, PolicyOptions, at_least_one


def watch(
    policy_options: PolicyOptions,
    mode: Literal["human", "ansi", "gif"] = "human",
    episodes: int = 1,
    row: int = 0,
    max_steps: int | None = None,
    attack: Literal["noise", "uniform", "fgsm"] | None = None,
    epsilon: float = 0.5,
    unit: Literal["std", "raw"] = "std",
    norm: Literal["inf", "2"] = "inf",
    out: Path = Path("watch.gif"),
    json: Json = False,
) -> int:
    """Watch one training seed of a policy play: in a window, as text, or as an animation in a file.

    The episodes are the first ones that evaluate counts. Under --attack the animation shows the true state beside what
    the policy is shown (cart-pole and grid worlds).

    Example: rlkit watch runs/cartpole/agent.safetensors --mode gif --attack fgsm --epsilon 0.5 --out cartpole.gif

    Args:
        mode: human is a window, ansi text (grid worlds), gif a file.
        episodes: How many.
        row: Which training seed of the file, counted from 0.
        max_steps: Cut episodes after so many steps.
        attack: Deceive the policy.
        epsilon: Size of the change.
        unit: Of epsilon: standard deviations of natural observations (std), or raw observation units (raw).
        norm: inf bounds every feature by itself, 2 all of them together.
        out: The file of mode gif.
    """
    from ..report import ledger
    from ..report.terminal import say
    from ..workflows.attack import ATTACKS, threat
    from ..workflows.watch import Tampering, has_display, write_gif
    from ..workflows.watch import watch as run_watch

    at_least_one("episodes", episodes)
    subject = policy_options.open()
    if mode == "human" and not has_display():
        raise ValueError("no window can be opened (no display, or no toolkit for matplotlib): use --mode gif or ansi")
    tampering = None
    if attack is not None:
        budget = replace(threat(subject, [attack], [epsilon], unit, norm).budget, epsilon=epsilon)
        tampering = Tampering(ATTACKS[attack], budget)
    images: list[Any] = []
    returns: list[float] = []
    for frame in run_watch(subject, mode, episodes, row, max_steps, tampering):
        if mode == "gif":
            images.append(frame.image)
        elif mode == "ansi" and not json:
            print(f"episode {frame.episode}, step {frame.step}, return {frame.earned:g}\n{frame.image}\n")
        returns[frame.episode :] = [frame.earned]
    if mode == "gif":
        write_gif(out, images)
    if json:
        print(ledger.to_json({"returns": returns, "file": out if mode == "gif" else None}), end="")
    else:
        say(f"returns: {', '.join(f'{earned:g}' for earned in returns)}" + (f"; written to {out}" * (mode == "gif")))
    return DONE
