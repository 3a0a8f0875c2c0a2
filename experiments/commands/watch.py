"""``rlkit watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from .options import DONE, Json, PolicyOptions, Unit, at_least_one, print_json, unset


def watch(
    policy: PolicyOptions,
    mode: Literal["human", "ansi", "gif"] = "human",
    episodes: int = 1,
    row: int = 0,
    max_steps: Annotated[int | None, unset("INT", "no limit")] = None,
    attack: Annotated[Literal["noise", "uniform", "fgsm"] | None, unset("{noise,uniform,fgsm}", "none")] = None,
    epsilon: float = 0.5,
    unit: Unit = None,
    norm: Literal["inf", "2"] = "inf",
    out: Path = Path("watch.gif"),
    json: Json = False,
) -> int:
    """Watch one training seed of a policy play: in a window, as text, or as an animation in a file.

    The episodes are the first episodes of rlkit evaluate. With --attack the animation shows the true state next to the
    observation that the policy receives (cart-pole and grid worlds).

    Example: rlkit watch runs/dqn-CartPole-v1 --mode gif --attack fgsm --epsilon 0.5 --out cartpole.gif

    Args:
        mode: human opens a window, ansi prints text (grid worlds), gif writes a file.
        episodes: Number of episodes.
        row: Row of the training seed in the file, from 0.
        max_steps: Maximum steps per episode.
        attack: Attack on the observations.
        epsilon: Attack size.
        norm: Norm of the attack: inf bounds every feature separately; 2 bounds all features together.
        out: File of --mode gif.
    """
    from ..workflows.watch import has_display, tampering_of, write_gif
    from ..workflows.watch import watch as run_watch

    at_least_one("episodes", episodes)
    if max_steps is not None:
        at_least_one("max-steps", max_steps)
    subject = policy.load()
    if mode == "human" and not has_display():
        raise ValueError("no window can be opened (no display, or no toolkit for matplotlib): use --mode gif or ansi")
    tampering = None if attack is None else tampering_of(subject, attack, epsilon, unit, norm)
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
        print_json({"returns": returns, "file": out if mode == "gif" else None})
    else:
        print(f"returns: {', '.join(f'{earned:g}' for earned in returns)}" + (f"; written to {out}" * (mode == "gif")))
    return DONE
