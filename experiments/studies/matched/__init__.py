"""With the same hyper-parameters, do rlkit and stable-baselines3 reach the same final returns?"""
