"""The committed threats: one TOML file a task, read by ``rlkit.adversarial.threat``."""
