"""How wrong may observations be before each agent fails, and which attack finds it? Ours beside stable-baselines3's."""
