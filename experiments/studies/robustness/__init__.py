"""How large must an attack be before an agent of rlkit or stable-baselines3 fails, and which attack finds it?"""
