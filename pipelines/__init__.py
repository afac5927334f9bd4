"""The pipelines: their definition, their YAML, and where they are run."""

TRAINING_STEPS = ("dataset", "train", "export", "parity", "register", "gate", "deploy")
