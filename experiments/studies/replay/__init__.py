"""Does replay raise the return? DQN on samples of its memory against DQN on its latest transitions, equal updates."""
