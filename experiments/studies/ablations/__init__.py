"""Why does REINFORCE fail on the lakes and PPO on the cliff? One factor changes at a time."""
