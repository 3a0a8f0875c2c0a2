"""Speed of rlkit and other libraries: ratios, with the command that repeats them.

    python -m rlkit.experiments.benchmarks                    # all, about five minutes
    python -m rlkit.experiments.benchmarks stepping           # the cases whose names begin with this

Both libraries do the same work, each in its own process on one thread, in turn: a repetition of rlkit, one of the other
library, and so on. A busy machine or a changing clock therefore slows both. Each ratio is of one repetition; the table
shows the least, the median and the greatest. Time is the CPU time of the process, which on one thread is the wall time
of an idle machine. All measurements are written to ``runs/benchmarks.json``.

- ``stepping``: random actions in 64, 1,024 and 16,384 copies of CartPole, against Gymnasium's ``CartPoleVectorEnv``.
- ``dqn-one-seed``: training DQN with the RL Zoo's hyper-parameters for CartPole (network 256-256), against
  stable-baselines3's DQN with the same. Environment steps per second, the warm-up without updates included.
- ``ppo`` and ``a2c``, ``-one-seed`` and ``-many-seeds``: training with the zoo's settings for CartPole, 8 copies.
- ``dqn-many-seeds``: 16 seeds of network 64-64 as one computation; a step of every seed counts.
"""
