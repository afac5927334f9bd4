"""The pipelines: their definition, their YAML, and where they are run."""
