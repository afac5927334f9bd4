"""Steps: one folder each; what several steps share stands here."""
