"""What does replay buy? DQN on samples from its memory against DQN on its latest transitions, at equal updates."""
