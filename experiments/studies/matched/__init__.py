"""Do our agents end where stable-baselines3's do, with the same hyper-parameters? Final returns seed by seed."""
