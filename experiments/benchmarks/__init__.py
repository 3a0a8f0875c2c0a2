"""Speed of rlkit and other libraries: ratios, with the command that repeats them.

    python -m rlkit.experiments.benchmarks --repetitions 3    # all, about six minutes on two idle cores
    python -m rlkit.experiments.benchmarks purejaxrl          # the cases whose names begin with this

Both libraries do the same work, each in its own process on one thread, in turn: a repetition of rlkit, one of the other
library, and so on. A busy machine or a changing clock therefore slows both. Each ratio is of one repetition; the table
shows the least, the median and the greatest. Time is the CPU time of the process, which on one thread is the wall time
of an idle machine. Imports and compilation are before the repetitions. They are shown apart, and in the last column as
a part of a training of 500,000 steps a seed. All measurements are written to ``runs/benchmarks.json``.

- ``gymnasium`` and ``gymnax``: random actions in 64, 1,024 and 16,384 copies of CartPole, against Gymnasium's
  ``CartPoleVectorEnv``, and against a loop of the shape of gymnax (``purejaxrl.py``).
- ``purejaxrl``: training PPO and DQN with PureJaxRL's networks and settings, against loops of its shape in JAX.
- ``cleanrl``: training 16 seeds with CleanRL's networks and settings, against scripts of its shape (``cleanrl.py``),
  which train one seed after another.
- ``sb3``: training with the RL Zoo's settings for CartPole, DQN with networks of 256-256 and 64-64, PPO and A2C with
  eight copies, against stable-baselines3 with the same, which trains one seed after another. Environment steps per
  second of all seeds, the warm-up of DQN without updates included.
"""
