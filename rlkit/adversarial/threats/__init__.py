"""The committed threats: one TOML file for each task, read by ``rlkit.adversarial.threat``."""
