"""Speed beside the peers, in one run: ratios, with the command that repeats them.

    python -m rlkit.experiments.benchmarks                    # all, about five minutes
    python -m rlkit.experiments.benchmarks stepping           # those whose name begins so

Both sides do the same work, each in a process of its own with one thread, and take turns: a repetition of ours, one of
the peer's, and so on. So a machine that is busy or changes its clock slows both. A ratio is taken within a repetition;
the table shows the least, the median and the greatest. Time is the process's CPU time, which on one thread is the wall
time of an idle machine. Everything measured is written to ``runs/benchmarks.json``.

- ``stepping``: random actions in 64, 1,024 and 16,384 copies of CartPole, against Gymnasium's ``CartPoleVectorEnv``.
- ``dqn-one-seed``: training DQN with the RL Zoo's hyper-parameters for CartPole (network 256-256), against
  stable-baselines3's DQN with the same. Environment steps per second, the warm-up without updates included.
- ``ppo`` and ``a2c``, ``-one-seed`` and ``-many-seeds``: training with the zoo's settings for CartPole, 8 copies.
- ``dqn-many-seeds``: 16 seeds of network 64-64 as one computation; a step of every seed counts.
"""
