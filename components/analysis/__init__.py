"""A video through a served model: findings, identities over time, smoothed key points."""
