"""Which frames of a video are worth labelling, by strategies that have names."""
