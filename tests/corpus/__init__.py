"""What attackers send, as data."""
